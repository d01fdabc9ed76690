"""The chat layout of Nemotron 3 Nano and Super: texts, and where scaffolding ends and content begins."""
import json
import re

SYSTEM_TEXT = "You are a careful assistant. Use the tools to do what is asked, then answer briefly."
HEADER = "# Tools\n\nYou have access to the following functions:\n\n<tools>"
INSTRUCTIONS = """

If you choose to call a function ONLY reply in the following format with NO suffix:

<tool_call>
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
</tool_call>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within <tool_call></tool_call> XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and do not tell the user about function calls
</IMPORTANT>"""

START, END = "<|im_start|>", "<|im_end|>"
CONTROL = ["<unk>", "<s>", "</s>", START, END, "<think>", "</think>", "<tool_call>", "</tool_call>",
           "<tool_response>", "</tool_response>"]
THINK_ON = START + "assistant\n<think>\n"
THINK_OFF = START + "assistant\n<think></think>"


def plain(value):
    """A JSON value as the template prints it: objects and lists as JSON, the rest as Python prints it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


def extra(table, skip):
    return "".join(f"\n<{k}>{plain(v)}</{k}>" for k, v in table.items() if k not in skip)


def declaration(spec):
    """One tool of the tools block, beginning with its newline."""
    schema = spec["parameters"]
    out = f"\n<function>\n<name>{spec['name']}</name>"
    if "description" in spec:
        out += f"\n<description>{spec['description'].strip()}</description>"
    out += "\n<parameters>"
    for name, prop in schema.get("properties", {}).items():
        out += f"\n<parameter>\n<name>{name}</name>"
        if "type" in prop:
            out += f"\n<type>{prop['type']}</type>"
        if "description" in prop:
            out += f"\n<description>{prop['description'].strip()}</description>"
        if "enum" in prop:
            out += f"\n<enum>{json.dumps(prop['enum'], ensure_ascii=False)}</enum>"
        out += extra(prop, ("name", "type", "description", "enum")) + "\n</parameter>"
    out += extra(schema, ("type", "properties", "required"))
    if "required" in schema:
        out += f"\n<required>{json.dumps(schema['required'], ensure_ascii=False)}</required>"
    out += "\n</parameters>" + extra(spec, ("type", "name", "description", "parameters"))
    return out + "\n</function>"


def system(text, specs):
    out = START + "system\n" + text
    if specs:
        out += "\n\n" if text else ""
        out += HEADER + "".join(declaration(s) for s in specs) + "\n</tools>" + INSTRUCTIONS
    return out + END + "\n"


def call_text(name, args):
    params = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in args.items())
    return f"<tool_call>\n<function={name}>\n{params}</function>\n</tool_call>\n"


# Pieces of a rendered conversation: (text, is content). Content is tokenised apart and never holds control tokens.
def user(text):
    return [(START + "user\n", False), (text, True), (END + "\n", False)]


def tool_response(text):
    return [(START + "user\n<tool_response>\n", False), (text, True), ("\n</tool_response>\n" + END + "\n", False)]


_call = re.compile(r"<tool_call>\n<function=([^>\n]+)>\n(.*?)</function>\n</tool_call>\n?\Z", re.S)
_parameter = re.compile(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>\n", re.S)


def parse_call(text):
    """(name, arguments) of the call that ends an assistant's text, or None."""
    found = _call.search(text)
    return (found.group(1), dict(_parameter.findall(found.group(2)))) if found else None
