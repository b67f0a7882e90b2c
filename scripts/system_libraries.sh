#!/usr/bin/env bash
# Install what Qt, OpenGL and a virtual screen need on Debian and Ubuntu, where it is missing.
# Usage: scripts/system_libraries.sh PYTHON
set -euo pipefail

python=$1
packages=(
    xvfb xauth libgl1 libegl1 libglx-mesa0 libgl1-mesa-dri libxkbcommon-x11-0 libxcb-cursor0
    libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0
    libxcb-xkb1 libxcb-xfixes0 libxcb-sync1 libdbus-1-3 libfontconfig1 libglib2.0-0
    libgssapi-krb5-2 fonts-dejavu-core
)

if ! command -v dpkg-query > /dev/null; then
    command -v Xvfb > /dev/null && exit 0
    echo "Install Xvfb and the X11 and OpenGL libraries of Qt 6 by your system's package manager." >&2
    exit 1
fi

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null || true)
    [[ $state == installed ]] || missing+=("$package")
done
"$python" -c 'import ensurepip, venv' 2> /dev/null || missing+=(python3-venv)
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
    if ! sudo -n true 2> /dev/null; then
        echo "Some system libraries are missing; install them once by:" >&2
        echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo -n)
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "${missing[@]}"
