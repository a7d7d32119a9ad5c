#!/bin/sh
# Chromium and PostgreSQL, for the tests that want a real browser and a real database server: Debian's packages, where
# they are not there and may be installed. Where not, those tests are skipped, and say so.
wanted=""
[ -x /usr/bin/chromium ] || wanted="chromium"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || wanted="$wanted postgresql"
[ -z "$wanted" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "not here, so their tests are skipped: $wanted (Debian's packages of these names)"
    exit 0
fi
echo "installing $wanted (once, a minute or two) ..."
export DEBIAN_FRONTEND=noninteractive
for try in 1 2 3; do
    # shellcheck disable=SC2086
    apt-get -qq update >/dev/null 2>&1 && apt-get -qq install -y --no-install-recommends $wanted >/dev/null 2>&1 && exit 0
    sleep 5
done
echo "could not be installed, so their tests are skipped: $wanted"
