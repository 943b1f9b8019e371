#!/usr/bin/env bash
# ARM64, a robot's architecture, by emulation: builds a small Debian for it once, puts this project's robot install into it and
# runs a command there. No package is unpacked or configured under emulation, so building takes a minute, not six.
#
#     tests/support/arm64.sh COMMAND…       in /project, a copy of this checkout's files; /out is kept
#
# Needs Linux, the rights to make namespaces, and Debian's qemu-user-static and mmdebstrap, which root gets by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

place=${ARM64_ROOT:-${XDG_CACHE_HOME:-$HOME/.cache}/fastscnn/arm64}
python=${PYTHON:-python3}
packages=python3,libgl1,libglib2.0-0,libgomp1,ca-certificates,coreutils,dash,grep,sed,procps
wheels=(numpy opencv-python onnxruntime openvino tqdm packaging pytest pytest-xdist hypothesis psutil)
cpu=${QEMU_CPU:-cortex-a76}  # as boards have; the default has SME, which none has

compiler=aarch64-linux-gnu-gcc  # of the decode; it needs nothing of the other machine's Python
if ! command -v qemu-aarch64-static >/dev/null || ! command -v mmdebstrap >/dev/null || ! command -v $compiler >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "ARM64 needs an emulator, mmdebstrap and a compiler: sudo apt-get install qemu-user-static mmdebstrap gcc-aarch64-linux-gnu libc6-dev-arm64-cross" >&2
        exit 2
    fi
    { apt-get update -qq && apt-get install -qq --no-install-recommends qemu-user-static mmdebstrap arch-test \
        gcc-aarch64-linux-gnu libc6-dev-arm64-cross; } >/dev/null
fi

# Built anew when what is in it changes.
made=$(echo "$packages ${wheels[*]}" | cat - constraints.txt | sha256sum | cut -c1-16)
root=$place/$made
site=$root/usr/local/lib/python3.11/dist-packages
into() {  # pip's own choice of wheels for another machine
    "$python" -m pip --disable-pip-version-check install --quiet --no-compile --upgrade --target "$site" --python-version 3.11 \
        --implementation cp --platform manylinux_2_35_aarch64 --platform manylinux_2_34_aarch64 --platform manylinux_2_31_aarch64 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 --platform linux_aarch64 --only-binary=:all: "$@" 2> >(grep -v '^WARNING' >&2)
}
if [ ! -e "$root/.made" ]; then
    rm -rf "$place"
    mkdir -p "$place"
    mirror=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m1 '/debian/\?$' || true)
    mmdebstrap --quiet --arch=arm64 --variant=extract --include="$packages" bookworm "$root" ${mirror:+"$mirror"}
    into --constraint constraints.txt "${wheels[@]}"
    touch "$root/.made"
fi

# The project: its files, and its package as pip installs it, whose scripts are to start the other Python.
rm -rf "$root/project" "$root/tmp/wheel"
mkdir -p "$root"/{project,out,proc,sys,dev,tmp/wheel}
git ls-files -co --exclude-standard -z | xargs -0 -I{} sh -c 'test ! -e "$1" || printf "%s\0" "$1"' _ {} |
    tar --null --files-from=- -c | tar -x -C "$root/project"
_PYTHON_HOST_PLATFORM=linux-aarch64 CC=$compiler LDSHARED="$compiler -shared" \
    "$python" -m pip --disable-pip-version-check wheel --quiet --no-deps -w "$root/tmp/wheel" "$root/project"
rm -rf "$root/project/build" "$root"/project/*.egg-info "$site/fastscnn" "$site"/fastscnn-*.dist-info
into --no-deps "$root"/tmp/wheel/fastscnn-*.whl
sed -i '1s,^#!.*,#!/usr/bin/python3,' "$site"/bin/fastscnn*
cp "$site"/bin/fastscnn* "$root/usr/bin/"

# Inside namespaces of its own, so that nothing of it is left on this machine, and no rights of root are needed.
export root cpu
exec unshare --user --map-root-user --mount --pid --fork --propagation private sh -euc '
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    sed s,:OPF,:OCPF, /usr/lib/binfmt.d/qemu-aarch64.conf > /proc/sys/fs/binfmt_misc/register
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t proc proc "$root/proc"
    mount --bind "$root/project/tests/support/arm64-cpuinfo.txt" "$root/proc/cpuinfo"
    cd /
    exec chroot "$root" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/tmp/home LANG=C.UTF-8 QEMU_CPU="$cpu" OMP_NUM_THREADS=1 FASTSCNN_EMULATED=1 \
        dash -euc "mkdir -p /tmp/home; cd /project; \"\$@\"" dash "$@"
' sh "$@"
