"""The command `informed-recon`, the same as `python -m informed_recon`."""

import ast
import importlib
import pathlib
import signal
import sys

import informed_recon
from informed_recon import launch


def faces() -> dict[str, str]:
  """Name of each command -> the first line of what it says of itself; to add
  a command is to add its file in `launch/`."""
  found = {}
  for path in sorted(pathlib.Path(launch.__path__[0]).glob("*.py")):
    tree = ast.parse(path.read_text())
    if any(getattr(node, "name", "") == "main" for node in tree.body):
      found[path.stem] = ast.get_docstring(tree).splitlines()[0]
  return found


def usage() -> str:
  width = max(map(len, faces()))
  lines = [f"  {name.ljust(width)}  {line}" for name, line in faces().items()]
  return "\n".join(
    [
      "usage: informed-recon COMMAND [--flag=value ...]",
      "       informed-recon COMMAND --help",
      "       informed-recon --version",
      "",
      *lines,
    ]
  )


def main() -> None:
  """Runs the command that the first argument names."""
  name = sys.argv[1] if len(sys.argv) > 1 else "--help"
  helps = {"--help", "-h", "--helpfull", "help", "--version"} & {*sys.argv[1:]}
  if helps and hasattr(signal, "SIGPIPE"):  # as in `… --help | head`
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
  if name in ("--help", "-h", "--helpfull", "help"):
    print(usage())
  elif name == "--version":
    print(f"informed_recon {informed_recon.__version__}")
  elif name not in faces():
    known = ", ".join(faces())
    print(f"error: unknown command {name!r}; known: {known}", file=sys.stderr)
    sys.exit(2)
  else:
    face = importlib.import_module(f"informed_recon.launch.{name}")
    app = importlib.import_module("informed_recon.launch.app")
    sys.argv = [f"informed-recon {name}", *sys.argv[2:]]
    app.run(
      face.main,
      getattr(face, "REQUIRED", ()),
      positional=getattr(face, "POSITIONAL", False),
    )


if __name__ == "__main__":
  main()
