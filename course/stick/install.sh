#!/bin/sh
# Installs the course from the folder that holds this file, or from a server, and opens it. No network is asked.
#   sh install.sh                        into the folder recfuse of your home
#   sh install.sh http://SERVER:8000     the same, from the instructor's machine
#   COURSE=some/folder sh install.sh     into another folder
# ROOM=1 checks the machine and writes its line instead of opening the course.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
from=${1:-file://$(printf %s "$here" | sed 's/%/%25/g; s/ /%20/g')}
course=${COURSE:-$HOME/recfuse}
for program in python3 make tar; do
    command -v "$program" >/dev/null || {
        echo "$program is missing, and is not in this folder. Debian, Ubuntu, WSL: sudo apt install make python3-venv." >&2
        echo "macOS: xcode-select --install, and Python 3.11, 3.12 or 3.13 from python.org. Both need a network." >&2
        exit 1
    }
done
if [ ! -e "$course/Makefile" ]; then
    mkdir -p "$course"
    python3 -c 'import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])' \
        "$from/recfuse.tar.gz" "$course/recfuse.tar.gz" || {
        echo "$from/recfuse.tar.gz could not be read: is the folder whole, is the server running?" >&2
        exit 1
    }
    tar -xzf "$course/recfuse.tar.gz" -C "$course" --strip-components=1
    rm "$course/recfuse.tar.gz"
fi
cd "$course"
exec make "$([ "${ROOM:-}" ] && echo room || echo lab)" STICK="$from"
