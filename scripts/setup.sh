# shellcheck shell=bash
# Prepare this machine: sourced by serve.sh and test.sh, which then call `setup serve` or `setup test`.
#
# Installs what is missing (Java 17+, Tesseract with English, Python with venv; Redis for the tests) through apt where it may, makes the
# virtual environment, installs the pinned packages with pip as the machine has it configured, and leaves a stamp so
# that the next start finds all of it in place without asking pip. Sets `root`, `venv` and `python`.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m -- "${LAYOUTLOOP_VENV:-$root/.venv}")
python=$venv/bin/python
export PYTHONNOUSERSITE=1

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# A Python of at least 3.10: its path, or nothing.
find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$name" >/dev/null && is_recent "$name"; then
      command -v "$name"
      return
    fi
  done
}

is_recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# Java as TorchServe will start it, whoever made it.
has_java() {
  local java=java said
  if [[ -n ${JAVA_HOME:-} ]]; then java=$JAVA_HOME/bin/java; fi
  said=$("$java" -version 2>&1) || return 1
  [[ $said =~ version\ \"([0-9]+) ]] && ((BASH_REMATCH[1] >= 17))
}

has_tesseract() {
  local languages
  languages=$(tesseract --list-langs 2>&1) || return 1
  [[ $'\n'$languages$'\n' == *$'\neng\n'* ]]
}

# The packages that are missing, one a line.
missing_packages() {
  local interpreter
  if ! is_ready_venv; then
    interpreter=$(find_python)
    if [[ -z $interpreter ]]; then
      printf '%s\n' python3 python3-venv
    elif ! "$interpreter" -c 'import ensurepip, venv' 2>/dev/null; then
      printf '%s-venv\n' "$(basename -- "$interpreter")"
    fi
  fi
  has_java || java_package
  has_tesseract || printf '%s\n' tesseract-ocr tesseract-ocr-eng
  if [[ $purpose == test ]] && ! command -v redis-server >/dev/null; then printf '%s\n' redis-server; fi
}

# Debian 12 and Ubuntu have 17; a later Debian has only its own default.
java_package() {
  if [[ -n $(apt-cache search --names-only '^openjdk-17-jre-headless$' 2>/dev/null) ]]; then
    printf '%s\n' openjdk-17-jre-headless
  elif [[ -n $(apt-cache search --names-only '^default-jre-headless$' 2>/dev/null) ]]; then
    printf '%s\n' default-jre-headless
  else
    printf '%s\n' openjdk-17-jre-headless  # the lists are not there yet
  fi
}

missing_on_one_line() {
  local packages
  mapfile -t packages < <(missing_packages)
  printf '%s' "${packages[*]}"
}

install_packages() {
  local packages as_root=()
  if [[ -n ${JAVA_HOME:-} && ! -x $JAVA_HOME/bin/java ]]; then
    fail "JAVA_HOME=$JAVA_HOME has no bin/java: correct it, or unset it."
  fi
  if [[ -z $(missing_packages) ]]; then return; fi
  if ((EUID != 0)); then as_root=(sudo -n); fi
  if ! command -v apt-get >/dev/null; then
    fail "missing: $(missing_on_one_line). There is no apt-get here: install Java 17 or later, Tesseract with" \
      "English and Python 3.10 or later with venv, then start again."
  fi
  if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    fail "missing system packages. Run this, then start again:" \
      "sudo apt-get update && sudo apt-get install -y --no-install-recommends $(missing_on_one_line)"
  fi
  say "updating the package lists"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
  mapfile -t packages < <(missing_packages)
  say "installing ${packages[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y \
    --no-install-recommends "${packages[@]}" >&2
  if [[ -n $(missing_packages) ]]; then
    fail "still missing after the installation: $(missing_on_one_line). If an older Java is in front," \
      "choose the new one with update-alternatives --config java, or set JAVA_HOME."
  fi
}

is_ready_venv() { [[ -f $venv/pyvenv.cfg && -x $python ]] && is_recent "$python" && "$python" -c 'import pip' 2>/dev/null; }

# What the environment must have been made from, for $1 = serve or test.
fingerprint() {
  { "$python" -V; cat "$root"/requirements/{torch,"$1",encoder}.txt; } | sha256sum
}

is_installed() {
  [[ -x $python && -f $venv/.layoutloop-$1 && $(<"$venv/.layoutloop-$1") == "$(fingerprint "$1")" ]]
}

refuse_torchvision() {
  local found=("$venv"/lib/python3*/site-packages/torchvision)
  if [[ -e ${found[0]} ]]; then
    fail "there is a torchvision in $venv. It seldom fits the installed torch, and then no model loads." \
      "Remove it ($python -m pip uninstall torchvision), or set LAYOUTLOOP_VENV to another folder."
  fi
}

install_python_packages() {
  local pip=("$python" -m pip --disable-pip-version-check --no-input install --quiet)
  if ! is_ready_venv; then
    if [[ -n $(ls -A -- "$venv" 2>/dev/null) && ! -f $venv/pyvenv.cfg ]]; then
      fail "$venv holds files but is no virtual environment: remove it, or set LAYOUTLOOP_VENV to another folder."
    fi
    say "making the virtual environment $venv"
    "$(find_python)" -m venv --clear "$venv" >&2
  fi
  # Until the last line is done there is no stamp, so that an interrupted installation is repeated.
  rm -f -- "$venv"/.layoutloop-{serve,test}
  say "installing Python packages into $venv (about 1.5 GB on disk the first time; takes minutes)"
  if ! "${pip[@]}" -r "$root/requirements/torch.txt" -r "$root/requirements/$1.txt" >&2 ||
    ! "${pip[@]}" --no-deps -r "$root/requirements/encoder.txt" >&2; then
    fail "pip could not install everything; its message is above. The next start tries again."
  fi
  fingerprint "$1" >"$venv/.layoutloop-$1"
  if [[ $1 == test ]]; then fingerprint serve >"$venv/.layoutloop-serve"; fi # test.txt holds all of serve.txt
}

# setup serve|test: everything in place, or a sentence and exit 1.
setup() {
  purpose=$1
  install_packages
  refuse_torchvision
  if is_installed "$1"; then return; fi
  # Two starts side by side take turns: the folder itself is the lock.
  {
    if command -v flock >/dev/null; then flock 9; fi
    if ! is_installed "$1"; then install_python_packages "$1" 9<&-; fi
  } 9<"$root/requirements"
  refuse_torchvision
}
