# The help of a script is its header, from the second line to the line that begins with `set`. To be
# sourced by sh or bash in the root of the project:
#
#   . scripts/usage.sh

usage() { sed -n '2,/^set /s/^# \{0,1\}//p' "scripts/${0##*/}"; }

wrong_usage() {
  usage >&2
  exit 2
}

# Of a script that has arguments and no options: prints the help where it is asked for, and refuses all
# other options.
refuse_options() {
  case ${1:-} in
    -h | --help)
      usage
      exit 0
      ;;
    -*) wrong_usage ;;
  esac
}
