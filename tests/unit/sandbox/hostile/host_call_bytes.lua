-- expect: tool_error argument 1 of notes.get is not UTF-8 text
ctx.notes.get("\xff\xfe")
