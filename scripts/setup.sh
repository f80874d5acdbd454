# shellcheck shell=bash
# Prepare this machine: sourced by serve.sh, demo.sh and test.sh, which then call `setup serve`, `demo` or `test`.
#
# Installs what is missing (Java 17+, Tesseract with English, Python with venv; Redis and Chromium for the tests) through
# apt where it may, makes the virtual environment (and Label Studio's own, for the demo and the tests), installs the
# pinned packages with pip as the machine has it configured, and leaves a stamp so that the next start finds all of it
# in place without asking pip. Sets `root`, `venv`, `python` and `label_studio`.
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
venv=$(realpath -m -- "${LAYOUTLOOP_VENV:-$root/.venv}")
python=$venv/bin/python
label_studio=$(realpath -m -- "${LAYOUTLOOP_LABEL_STUDIO_VENV:-$root/.venv-label-studio}")
export LAYOUTLOOP_LABEL_STUDIO_VENV=$label_studio
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

# LAYOUTLOOP_CHROMIUM alone where it is set, else the first name that is there; tests/end_to_end/screen.py does the same.
# It is started, since Ubuntu's chromium-browser is there and only says that one should install a snap.
has_chromium() {
  local name names=(chromium chromium-browser google-chrome google-chrome-stable)
  if [[ -n ${LAYOUTLOOP_CHROMIUM:-} ]]; then names=("$LAYOUTLOOP_CHROMIUM"); fi
  for name in "${names[@]}"; do
    if "$name" --version >/dev/null 2>&1; then return; fi
  done
  return 1
}

# Whether apt could install Chromium: Debian can, Ubuntu has no such package, or one that is a mere link to a snap.
offers_chromium() {
  local candidate
  candidate=$(LC_ALL=C apt-cache policy chromium 2>/dev/null | sed -n 's/^ *Candidate: //p')
  [[ -n $candidate && $candidate != '(none)' && $candidate != *snap* ]]
}

# The packages that are missing, one a line.
missing_packages() {
  local interpreter
  if ! is_ready_venv "$venv"; then
    interpreter=$(find_python)
    if [[ -z $interpreter ]]; then
      printf '%s\n' python3 python3-venv
    elif ! "$interpreter" -c 'import ensurepip, venv' 2>/dev/null; then
      printf '%s-venv\n' "$(basename -- "$interpreter")"
    fi
  fi
  has_java || java_package
  has_tesseract || printf '%s\n' tesseract-ocr tesseract-ocr-eng
  if [[ $purpose == test ]]; then
    command -v redis-server >/dev/null || printf '%s\n' redis-server
    has_chromium || printf '%s\n' chromium
  fi
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

refuse_wrong_places() {
  if [[ -n ${JAVA_HOME:-} && ! -x $JAVA_HOME/bin/java ]]; then
    fail "JAVA_HOME=$JAVA_HOME has no bin/java: correct it, or unset it."
  fi
  if [[ $purpose == test && -n ${LAYOUTLOOP_CHROMIUM:-} ]] && ! has_chromium; then
    fail "LAYOUTLOOP_CHROMIUM=$LAYOUTLOOP_CHROMIUM is no browser that starts: correct it, or unset it."
  fi
}

# Asked only when the package lists are there: without them apt offers nothing at all.
refuse_missing_chromium() {
  if [[ $purpose == test ]] && ! has_chromium && ! offers_chromium; then
    fail "the tests need Chromium or Chrome, and apt has none here (on Ubuntu it is a snap). Install one," \
      "for example Google's .deb, or set LAYOUTLOOP_CHROMIUM to its path; then start again."
  fi
}

has_package_lists() { [[ -n $(apt-cache search --names-only '^tesseract-ocr$' 2>/dev/null) ]]; }

install_packages() {
  local packages as_root=(env DEBIAN_FRONTEND=noninteractive)
  refuse_wrong_places
  if [[ -z $(missing_packages) ]]; then return; fi
  if ((EUID != 0)); then as_root=(sudo -n "${as_root[@]}"); fi
  if ! command -v apt-get >/dev/null; then
    fail "missing: $(missing_on_one_line). There is no apt-get here: install Java 17 or later, Tesseract with" \
      "English and Python 3.10 or later with venv, then start again."
  fi
  if ((EUID != 0)) && ! sudo -n true 2>/dev/null; then
    if has_package_lists; then refuse_missing_chromium; fi
    fail "missing system packages. Run this, then start again:" \
      "sudo apt-get update && sudo apt-get install -y --no-install-recommends $(missing_on_one_line)"
  fi
  say "updating the package lists"
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 update >&2
  refuse_missing_chromium
  mapfile -t packages < <(missing_packages)
  say "installing ${packages[*]}"
  "${as_root[@]}" apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${packages[@]}" >&2
  if [[ -n $(missing_packages) ]]; then
    fail "still missing after the installation: $(missing_on_one_line). If an older Java is in front," \
      "choose the new one with update-alternatives --config java, or set JAVA_HOME."
  fi
}

# Whether $1 is a virtual environment that works.
is_ready_venv() {
  [[ -f $1/pyvenv.cfg && -x $1/bin/python ]] && is_recent "$1/bin/python" && "$1/bin/python" -c 'import pip' 2>/dev/null
}

# make_venv FOLDER VARIABLE: a virtual environment there, unless it is one; VARIABLE moves it.
make_venv() {
  if is_ready_venv "$1"; then return; fi
  if [[ -n $(ls -A -- "$1" 2>/dev/null) && ! -f $1/pyvenv.cfg ]]; then
    fail "$1 holds files but is no virtual environment: remove it, or set $2 to another folder."
  fi
  say "making the virtual environment $1"
  "$(find_python)" -m venv --clear "$1" >&2
}

pip_install() { # FOLDER ARGUMENTS...
  # Without --use-pep517 a pip before 25.3 builds old packages (seqeval) with whatever lies in the environment already,
  # and not with what they name: test.sh after serve.sh then fails.
  trap 'fail "stopped. The next start goes on."' INT
  "$1/bin/python" -m pip --disable-pip-version-check --no-input install --quiet --use-pep517 "${@:2}" >&2 ||
    fail "pip could not install everything; its message is above. The next start tries again."
  trap - INT
}

# What an environment must have been made from: fingerprint FOLDER NAMES...
fingerprint() {
  local name
  { "$1/bin/python" -V; for name in "${@:2}"; do cat "$root/requirements/$name.txt"; done; } | sha256sum
}

# is_installed FOLDER STAMP NAMES...: whether its stamp says that it was made from these.
is_installed() {
  [[ -x $1/bin/python && -f $1/$2 && $(<"$1/$2") == "$(fingerprint "$1" "${@:3}")" ]]
}

is_complete() { is_installed "$venv" ".layoutloop-$1" torch "$1" reader encoder; }
has_label_studio() { is_installed "$label_studio" .layoutloop-label-studio label-studio; }

refuse_torchvision() {
  local found=("$venv"/lib/python3*/site-packages/torchvision)
  if [[ -e ${found[0]} ]]; then
    fail "there is a torchvision in $venv. It seldom fits the installed torch, and then no model loads." \
      "Remove it ($python -m pip uninstall torchvision), or set LAYOUTLOOP_VENV to another folder."
  fi
}

install_python_packages() {
  make_venv "$venv" LAYOUTLOOP_VENV
  # Until the last line is done there is no stamp, so that an interrupted installation is repeated.
  rm -f -- "$venv"/.layoutloop-{serve,test}
  say "installing Python packages into $venv (about 2.1 GB on disk with the CPU build of torch the first time; takes minutes)"
  pip_install "$venv" -r "$root/requirements/torch.txt" -r "$root/requirements/$1.txt"
  pip_install "$venv" --no-deps -r "$root/requirements/reader.txt" -r "$root/requirements/encoder.txt"
  fingerprint "$venv" torch "$1" reader encoder >"$venv/.layoutloop-$1"
  if [[ $1 == test ]]; then # test.txt holds all of serve.txt
    fingerprint "$venv" torch serve reader encoder >"$venv/.layoutloop-serve"
  fi
}

install_label_studio() {
  make_venv "$label_studio" LAYOUTLOOP_LABEL_STUDIO_VENV
  rm -f -- "$label_studio/.layoutloop-label-studio"
  say "installing Label Studio into $label_studio (about 1 GB on disk the first time; takes minutes)"
  pip_install "$label_studio" -r "$root/requirements/label-studio.txt"
  fingerprint "$label_studio" label-studio >"$label_studio/.layoutloop-label-studio"
}

# One start after another: the folder of the requirements is the lock.
one_at_a_time() {
  {
    if command -v flock >/dev/null && ! flock -n 9; then
      say "another start is installing; waiting for its end"
      flock 9
    fi
    "$@" 9<&-
  } 9<"$root/requirements"
}

install_if_missing() { # CHECK INSTALL ARGUMENTS...
  if ! "$1" "${@:3}"; then "$2" "${@:3}"; fi
}

# setup serve|demo|test: everything in place, or a sentence and exit 1.
setup() {
  local kind=$1
  purpose=$1
  if [[ $1 == demo ]]; then kind=serve; fi
  install_packages
  refuse_torchvision
  is_complete "$kind" || one_at_a_time install_if_missing is_complete install_python_packages "$kind"
  if [[ $1 != serve ]] && ! has_label_studio; then one_at_a_time install_if_missing has_label_studio install_label_studio; fi
  refuse_torchvision
}
