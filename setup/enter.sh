# SPDX-License-Identifier: Apache-2.0
# Sourced with VLA_ROOT set: set up what is missing, then load the environment. Returns non-zero when set-up failed.

_vla_python=""
for _vla_candidate in "$VLA_ROOT/.venv/bin/python" python3 python3.12 /usr/bin/python3; do
  if command -v "$_vla_candidate" >/dev/null 2>&1 && "$_vla_candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
    _vla_python="$_vla_candidate"
    break
  fi
done
if [ -z "$_vla_python" ]; then
  echo "[setup] no Python found. Install Python 3.12 (Ubuntu 24.04: sudo apt-get install python3.12-venv) and run this again." >&2
  return 1
fi
"$_vla_python" -EsS "$VLA_ROOT/setup/bootstrap.py" || return $?
unset _vla_python _vla_candidate
. "$VLA_ROOT/setup/env.sh"
