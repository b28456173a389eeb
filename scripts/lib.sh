# shellcheck shell=bash
# What the scripts share. Sourced, with the checkout as working directory.

say() { printf '%s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$1" >&2
  [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2
  exit 1
}

# The name of the system user that runs sandboxes when root runs the tests or the demo.
TEST_USER=${SRT_TEST_USER:-srt-test}

# Makes `cargo` work. With a HOME that knows no rustup, a rustup proxy on the PATH finds no toolchain although
# one is installed beside it: .../.cargo/bin/cargo belongs to .../.rustup.
need_cargo() {
  local proxy rustup
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH="$HOME/.cargo/bin:$PATH"
  fi
  proxy=$(command -v cargo) || die "no cargo on the PATH" "install Rust, by rustup or from your distribution"
  if ! cargo --version >/dev/null 2>&1; then
    rustup=$(dirname "$(dirname "$(dirname "$proxy")")")/.rustup
    if [ -z "${RUSTUP_HOME:-}" ] && [ -d "$rustup/toolchains" ]; then
      say "cargo is a rustup proxy that finds no toolchain under $HOME: using the one beside it"
      export RUSTUP_HOME="$rustup" CARGO_HOME="${CARGO_HOME:-$HOME/.cargo}"
    fi
    cargo --version >/dev/null || die "cargo does not run" "rustup default stable"
  fi
  # The proxy's folder leads the PATH so that cargo's own children (rustc, clippy-driver) are found too.
  export PATH
}

# Where cargo puts what it builds, as an absolute path.
target_dir() {
  case ${CARGO_TARGET_DIR:-} in
    '') printf '%s\n' "$PWD/target" ;;
    /*) printf '%s\n' "$CARGO_TARGET_DIR" ;;
    *) printf '%s\n' "$PWD/$CARGO_TARGET_DIR" ;;
  esac
}

# Runs a command as root: as we are, or by sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    die "this needs root, and there is no sudo: $*" "run it as root once, then try again"
  fi
}

# Installs Debian packages, saying which.
apt_install() {
  command -v apt-get >/dev/null || die "missing: $* (and this machine has no apt-get)" "install them with your package manager"
  say "installing Debian packages: $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# Root only: makes sure that the unprivileged user exists. Sets TEST_UID, TEST_GID and, where it made one,
# CREATED_USER.
need_test_user() {
  CREATED_USER=
  if ! id "$TEST_USER" >/dev/null 2>&1; then
    if command -v useradd >/dev/null; then
      say "creating the system user $TEST_USER: sandboxes run unprivileged (userdel $TEST_USER removes it)"
      # Two runs may race to it: what counts is that it is there.
      useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$TEST_USER" \
        || id "$TEST_USER" >/dev/null
      CREATED_USER=1
    else
      say "no useradd: borrowing uid 60989 for what must run unprivileged"
      TEST_UID=60989 TEST_GID=60989
      return
    fi
  fi
  TEST_UID=$(id -u "$TEST_USER")
  TEST_GID=$(id -g "$TEST_USER")
}

# Runs a command as the unprivileged user, in the given environment and nothing of root's.
as_test_user() {
  setpriv --reuid="$TEST_UID" --regid="$TEST_GID" --clear-groups --inh-caps=-all -- "$@"
}

# The PATH of the unprivileged user: the system's folders, and node's where that user can run it.
test_user_path() {
  local path=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin node
  if node=$(command -v node) && as_test_user "$node" --version >/dev/null 2>&1; then
    path=$(dirname "$node"):$path
  fi
  printf '%s\n' "$path"
}

# Builds the helper anew without shared libraries, where the system has what that takes (glibc's libc.a): it is started
# twice a launch, and finding its libraries is a third of its time. Where it cannot be had the usual one stays.
build_static_jail() {
  [ "$(uname -s)" = Linux ] || return 0
  cargo rustc --quiet --release -p srt-sandbox --bin srt-jail -- -C target-feature=+crt-static \
    || say "srt-jail stays linked to shared libraries: launches are a little slower"
}

# Where the copy of this checkout goes.
stage_folder() { printf '/var/tmp/srt-stage-%s\n' "$(printf '%s' "$PWD" | sha256sum | cut -c1-12)"; }

# Root only. The unprivileged user runs what is built here and reads the fixtures beside it. Where it cannot enter
# the checkout or the target folder (a clone under /root or in a private temporary folder), or a path has a
# blank (cargo splits a runner's command line there), the sources are copied to a place that it can enter, and the
# script goes on from there. Build results are kept for the next time.
stage_if_unreachable() {
  local script=$1 target stage
  shift
  target=$(target_dir)
  mkdir -p "$target"
  case $PWD$target in
    *[[:space:]]*) ;;
    *)
      if as_test_user test -r "$PWD/Cargo.toml" -a -r "$PWD/scripts/run-as-user" -a -x "$target" 2>/dev/null; then
        return
      fi
      ;;
  esac
  [ -z "${SRT_STAGED:-}" ] || die "user $TEST_USER cannot read the copy in $PWD" "check the mode of /var/tmp"
  stage=$(stage_folder)
  say "user $TEST_USER cannot enter $PWD: going on with a copy in $stage"
  umask 022
  mkdir -p "$stage"
  # Somebody else's folder of that name in a world-writable place would let them choose what root runs.
  [ -O "$stage" ] && [ ! -L "$stage" ] || die "$stage belongs to somebody else" "remove it"
  chmod 755 "$stage"
  rm -rf "$stage/src"
  mkdir "$stage/src"
  # Times are kept, so cargo rebuilds only what changed.
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard
  else
    find . -path ./target -prune -o -type f -print0
  fi | while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done \
    | tar --null --files-from=- -c | tar -x -C "$stage/src" --no-same-owner
  chmod -R a+rX "$stage/src"
  cd "$stage/src"
  SRT_STAGED=1 CARGO_TARGET_DIR="$stage/target" exec "$stage/src/scripts/$script" "$@"
}

# Cargo's name of the variable that wraps what it runs on this machine.
runner_variable() {
  rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_' | sed 's/.*/CARGO_TARGET_&_RUNNER/'
}
