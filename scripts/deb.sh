#!/usr/bin/env bash
# Makes a Debian package of built programs: `make deb`. Needs dpkg-deb and gzip, which every Debian has.
#
#   deb.sh PROGRAMS-DIRECTORY OUTPUT-DIRECTORY
#
#   /usr/bin/latticed, latticectl               the programs
#   /lib/systemd/system/latticed.service        not enabled: it needs /etc/latticed/latticed.toml, which is yours to write
#   /usr/share/doc/latticed/                    the commented reference configuration, the dashboard, licences
#   /usr/share/man/, bash-completion, zsh, fish made by latticectl itself
#
# Installing makes the user and group `latticed`. Prints the package's name.
set -euo pipefail
cd "$(dirname "$0")/.."

programs=$1 output=$2
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n1)
architecture=$(dpkg --print-architecture)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
# Its modes are those of the package's directories, whoever builds it.
umask 022
chmod 755 "$root"

put() { install -D -m "$1" "$2" "$root/$3"; }

for program in latticed latticectl; do
    put 755 "$programs/$program" "usr/bin/$program"
    strip --strip-unneeded "$root/usr/bin/$program"
done
put 644 config/systemd/latticed.service lib/systemd/system/latticed.service
doc=usr/share/doc/latticed
put 644 config/latticed.toml "$doc/latticed.toml"
put 644 config/grafana/latticed.json "$doc/grafana-dashboard.json"
for licence in LICENSE-APACHE LICENSE-MIT; do put 644 "$licence" "$doc/$licence"; done
put 644 LICENSE "$doc/copyright"

ctl=$root/usr/bin/latticectl
mkdir -p "$root/usr/share/man/man1" "$root/usr/share/man/man8"
"$ctl" man "$root/usr/share/man/man1"
mv "$root/usr/share/man/man1/latticed.8" "$root/usr/share/man/man8/"
gzip -9n "$root"/usr/share/man/man?/*
completion() { mkdir -p "$root/$(dirname "$2")" && "$ctl" completions "$1" >"$root/$2"; }
completion bash usr/share/bash-completion/completions/latticectl
completion zsh usr/share/zsh/vendor-completions/_latticectl
completion fish usr/share/fish/vendor_completions.d/latticectl.fish

# The C library that the programs were linked with is the least that they need.
needs=$(objdump -T "$root/usr/bin/latticed" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n1 | sed 's/GLIBC_//')
libraries="libc6 (>= $needs), libgcc-s1"
if objdump -p "$root/usr/bin/latticed" | grep -q 'NEEDED *libelf'; then libraries="$libraries, libelf1, zlib1g"; fi

mkdir "$root/DEBIAN"
cat >"$root/DEBIAN/control" <<CONTROL
Package: latticed
Version: $version
Architecture: $architecture
Maintainer: The Latticed developers <maintainers@localhost>
Section: net
Priority: optional
Depends: $libraries, adduser
Installed-Size: $(du -sk "$root" | cut -f1)
Description: shared state between hosts, without a leader
 A daemon on every host replicates counters, flags, registers and sets to all the others, over AF_XDP
 where that is possible, and publishes them in shared memory.
CONTROL
cat >"$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    adduser --quiet --system --group --no-create-home --home /nonexistent latticed
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # After an upgrade the new program is to run; a service that did not run is left alone.
        systemctl try-restart latticed.service || true
    fi
    [ -n "$2" ] || echo "latticed: write /etc/latticed/latticed.toml (/usr/share/doc/latticed/latticed.toml has every key), then: systemctl enable --now latticed"
fi
POSTINST
cat >"$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now latticed.service || true
fi
PRERM
cat >"$root/DEBIAN/postrm" <<'POSTRM'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
POSTRM
chmod 755 "$root"/DEBIAN/p*

mkdir -p "$output"
package=$output/latticed_${version}_$architecture.deb
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
