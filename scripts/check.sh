#!/usr/bin/env bash
# Run every check, report all of them, and fail if any failed.
# The viewer's tests run under a virtual screen, in a process of their own.
# Usage: scripts/check.sh BIN_FOLDER
set -uo pipefail
shopt -s nullglob

bin=$1
failed=()

check() {
    echo "--- $1"
    "${@:2}" || failed+=("$1")
}

# pytest's code 5, no test found, is no failure
tests() {
    "$@"
    local code=$?
    [[ $code -eq 5 ]] || return "$code"
}

viewer=()
others=()
for room in tests/*/; do
    case $room in
        tests/napari*/ | tests/plugin*/ | tests/widgets*/) viewer+=("$room") ;;
        *) others+=("$room") ;;
    esac
done

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy" "$bin/mypy"
[[ ! -f napari_openmedlab/napari.yaml ]] ||
    check "npe2 validate" "$bin/npe2" validate napari_openmedlab/napari.yaml
[[ ${#viewer[@]} -eq 0 ]] ||
    check "viewer tests" tests xvfb-run -a -s "-screen 0 1400x900x24" \
        "$bin/python" -m pytest "${viewer[@]}"
check "engine tests" tests "$bin/python" -m pytest "${others[@]}"

if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
