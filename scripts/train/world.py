"""The shipped tool plugins, read and run as they are: their Lua is evaluated here, so nothing is written twice."""
import json
from pathlib import Path

import lupa.lua54 as lua54

PLUGINS = Path(__file__).resolve().parents[2] / "tools" / "plugins"


class World:
    """What the tools act on: notes, files beneath the granted folder, the clock."""

    def __init__(self, notes=None, files=None, now="2026-01-01 00:00:00"):
        self.notes = dict(notes or {})
        self.files = dict(files or {})
        self.now = now

    def copy(self):
        return World(self.notes, self.files, self.now)

    def list(self, path):
        prefix = path.rstrip("/") + "/" if path.strip("/.") else ""
        names = set()
        for name in self.files:
            if name.startswith(prefix):
                head, slash, _ = name[len(prefix):].partition("/")
                names.add(head + slash)
        return sorted(names)


class Tools:
    """tools.specs[name] is the declaration, tools.call(world, name, args) the plugin's own `run`."""

    def __init__(self, folder=PLUGINS):
        self.lua = lua54.LuaRuntime(unpack_returned_tuples=True)
        self.world = None
        self.specs, self.runs = {}, {}
        for path in sorted(Path(folder).glob("*.lua")):
            table = self.lua.execute(path.read_text())
            self.specs[table["name"]] = {
                "name": table["name"],
                "description": table["description"],
                "parameters": json.loads(table["parameters"]),
            }
            self.runs[table["name"]] = table["run"]
        if not self.specs:
            raise SystemExit(f"no plugins in {folder}")
        self.ctx = self.lua.table_from({
            "notes": self.lua.table_from({"get": self._get, "put": self._put}),
            "files": self.lua.table_from({"list": self._list, "read": self._read, "write": self._write}),
            "clock": self.lua.table_from({"now": lambda: self.world.now}),
        })

    def _get(self, key):
        return self.world.notes.get(key)

    def _put(self, key, value):
        self.world.notes[key] = value
        return True

    def _list(self, path):
        names = self.world.list(path)
        if not names:
            return None, f"no such folder: {path}"
        return self.lua.table_from(names)

    def _read(self, path):
        if path not in self.world.files:
            return None, f"file not found: {path}"
        return self.world.files[path]

    def _write(self, path, content):
        self.world.files[path] = content
        return True

    def typed(self, name, args):
        """Argument texts of a call as the schema types them; raises ValueError where they do not fit."""
        props = self.specs[name]["parameters"].get("properties", {})
        required = self.specs[name]["parameters"].get("required", [])
        if set(args) - set(props) or set(required) - set(args):
            raise ValueError("parameters do not fit the schema")
        out = {}
        for key, text in args.items():
            if props[key].get("type") == "number":
                out[key] = json.loads(text)
                if not isinstance(out[key], (int, float)) or isinstance(out[key], bool):
                    raise ValueError("not a number")
            else:
                out[key] = text
        return out

    def call(self, world, name, args):
        """The text that the model sees: the result, or `error: MESSAGE`."""
        if name not in self.runs:
            return f"error: unknown tool: {name}"
        try:
            typed = self.typed(name, args)
        except ValueError as err:
            return f"error: {err}"
        self.world = world
        result = self.runs[name](self.lua.table_from(typed), self.ctx)
        value, error = result if isinstance(result, tuple) else (result, None)
        return value if value is not None else f"error: {error}"
