#!/usr/bin/env bash
# Run every check, report all of them, and fail if any failed.
# The viewer's tests run under a virtual screen and Slicer's beside real MRML, each in a process
# of their own.
# Usage: scripts/check.sh BIN_FOLDER
set -uo pipefail
shopt -s nullglob

bin=$1
failed=()

check() {
    echo "--- $1"
    "${@:2}" || failed+=("$1")
}

viewer=()
apart=()
others=()
for room in tests/*/; do
    case $room in
        tests/napari*/ | tests/plugin*/ | tests/widgets*/) viewer+=("$room") ;;
        tests/slicer*/) apart+=("$room") ;;
        *) others+=("$room") ;;
    esac
done

check "ruff check" "$bin/ruff" check .
check "ruff format" "$bin/ruff" format --check .
check "mypy" "$bin/mypy"
[[ ! -f napari_openmedlab/napari.yaml ]] ||
    check "npe2 validate" "$bin/npe2" validate napari_openmedlab/napari.yaml
check "viewer tests" xvfb-run -a -s "-screen 0 1400x900x24" "$bin/python" -m pytest "${viewer[@]}"
check "engine tests" "$bin/python" -m pytest "${others[@]}"
check "Slicer tests" env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 "$bin/python" -m pytest "${apart[@]}"

if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'Failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
