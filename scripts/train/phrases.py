"""How people ask. In each list the last three phrasings are kept out of training and used for evaluation only."""

HELD = 3

P = {
    # calc; {e} is the expression
    "expr": ["What is {e}?", "Calculate {e}.", "Compute {e}.", "How much is {e}?", "Work out {e}.", "{e} = ?",
             "Please calculate {e}.", "Evaluate {e}.", "What does {e} give?", "Tell me what {e} is.", "Solve {e}.",
             "I need {e}.", "Can you compute {e}?", "Give me {e}.", "What do you get for {e}?"],
    "add": ["Add {a} and {b}.", "How much is {a} plus {b}?", "What is the sum of {a} and {b}?", "Add {b} to {a}.",
            "Sum up {a} and {b}.", "{a} plus {b}?", "What do {a} and {b} make together?", "What is {a} plus {b}?",
            "Work out {a} plus {b}.", "Please add {a} and {b}."],
    "sub": ["Subtract {b} from {a}.", "How much is {a} minus {b}?", "What is {a} minus {b}?", "Take {b} from {a}.",
            "{a} minus {b}?", "What is the difference of {a} and {b}?", "What is left of {a} without {b}?",
            "Work out {a} minus {b}.", "Please subtract {b} from {a}.", "Calculate {a} minus {b}."],
    "mul": ["Multiply {a} by {b}.", "How much is {a} times {b}?", "What is {a} times {b}?", "{a} times {b}?",
            "What is the product of {a} and {b}?", "Multiply {a} and {b}.", "Calculate {a} times {b}.",
            "Work out {a} times {b}.", "Please multiply {a} by {b}.", "Give me {a} times {b}."],
    "div": ["Divide {a} by {b}.", "How much is {a} divided by {b}?", "What is {a} divided by {b}?",
            "{a} divided by {b}?", "Calculate {a} divided by {b}.", "Share {a} by {b}.", "Work out {a} divided by {b}.",
            "Please divide {a} by {b}.", "Give me {a} divided by {b}."],
    "put": ["Store {v} under {n}.", "Save {v} as {n}.", "Set {n} to {v}.", "Put {v} into {n}.", "Keep {v} under {n}.",
            "Store the value {v} under the key {n}.", "Please save {v} under {n}.", "Let {n} be {v}.",
            "Write {v} to the key {n}.", "Make {n} equal to {v}.", "The key {n} should hold {v}.",
            "Set the value of {n} to {v}.", "Save the value {v} under the name {n}.", "Record {v} as {n}.",
            "Store {n} = {v}.", "Please store {v} as {n}.", "Put the value {v} under {n}."],
    "get": ["What is stored under {n}?", "Look up {n}.", "What is the value of {n}?", "Get {n}.",
            "Tell me the value of {n}.", "What is the value of the key {n}?", "Get the value of {n}.",
            "What does the key {n} hold?", "Read the key {n}.", "Show me the value of {n}.", "What is in {n}?",
            "Give me the value of {n}.", "Which value is stored under {n}?", "Please look up {n}.",
            "What did I store under {n}?", "Please get the value of {n}.", "Tell me what is stored under {n}."],
    "read": ["Read {p}.", "Show me {p}.", "What does {p} say?", "Open {p}.", "What is in {p}?", "Read the file {p}.",
             "Show the text of {p}.", "What is the content of {p}?", "Tell me what {p} says.", "Print {p}.",
             "Show me the file {p}.", "Please open {p}.", "Open the file {p}.", "Please read {p}.",
             "What does the file {p} say?"],
    "list": ["List the files in {d}.", "Which files are in {d}?", "What is in the folder {d}?", "Show the files in {d}.",
             "List {d}.", "List the folder {d}.", "What files does {d} have?", "Show me the folder {d}.",
             "Which files does the folder {d} hold?", "Tell me the files in {d}.", "Give me a list of the files in {d}.",
             "Please list the files in {d}.", "What files are in {d}?", "Show me the files in {d}."],
    "write": ["Write \"{c}\" to {p}.", "Save the text \"{c}\" in {p}.", "Create {p} with \"{c}\".",
              "Put \"{c}\" into the file {p}.", "Write the text \"{c}\" to the file {p}.", "Make a file {p} with \"{c}\".",
              "Save \"{c}\" to {p}.", "Create a file {p} that says \"{c}\".", "Store the text \"{c}\" in the file {p}.",
              "The file {p} should say \"{c}\".", "Please write \"{c}\" to {p}.", "Write {p} with the text \"{c}\".",
              "Save \"{c}\" in the file {p}.", "Create the file {p} with the text \"{c}\"."],
    "convert": ["Convert {a} {f} to {t}.", "How many {t} are {a} {f}?", "What is {a} {f} in {t}?", "{a} {f} in {t}?",
                "Turn {a} {f} into {t}.", "Give me {a} {f} in {t}.", "Change {a} {f} to {t}.", "{a} {f} to {t}.",
                "How much is {a} {f} in {t}?", "Please convert {a} {f} into {t}.", "Tell me {a} {f} in {t}.",
                "Convert {a} {f} into {t}.", "How many {t} is {a} {f}?", "What are {a} {f} in {t}?"],
    "search": ["Which files in {d} contain {w}?", "Search {d} for {w}.", "Find the files in {d} that contain {w}.",
               "Find {w} in {d}.", "Search the folder {d} for {w}.", "In which files of {d} is {w}?",
               "Look for {w} in {d}.", "Which file in {d} has {w}?", "Where in {d} is {w}?",
               "Which files in the folder {d} contain the text {w}?", "Search the files in {d} for {w}.",
               "Look for the text {w} in {d}.", "Which files of {d} contain {w}?"],
    "clock": ["What time is it?", "What is the time?", "What is the date?", "Tell me the time.", "Which day is it?",
              "What is the current date and time?", "Tell me the date.", "Get the current time.", "What day is it?",
              "Give me the date and the time.", "What is the date today?", "Tell me the current time.",
              "What is the current time?"],
    # Chains of one sentence. {sink} is a phrase of sink_put or sink_write.
    "kk_add": ["Add {a} and {b} and {sink}.", "Get {a} and {b}, add them and {sink}.",
               "Read the keys {a} and {b}, add them, then {sink}.", "Take {a} plus {b} and {sink}.",
               "Look up {a} and {b}, add them up and {sink}.", "Sum the values of {a} and {b} and {sink}.",
               "Add the values of {a} and {b}, then {sink}.", "Get the values of {a} and {b}, add them and {sink}.",
               "Add {a} and {b}, then {sink}."],
    "kk_sub": ["Subtract {b} from {a} and {sink}.", "Get {a} and {b}, subtract them and {sink}.",
               "Read the keys {a} and {b}, subtract them, then {sink}.", "Take {a} minus {b} and {sink}.",
               "Look up {a} and {b}, subtract the second from the first and {sink}.",
               "Take {b} from {a} and {sink}.", "Subtract the value of {b} from the value of {a} and {sink}.",
               "Get the values of {a} and {b}, subtract them and {sink}.", "Subtract {b} from {a}, then {sink}."],
    "kk_mul": ["Multiply {a} and {b} and {sink}.", "Get {a} and {b}, multiply them and {sink}.",
               "Read the keys {a} and {b}, multiply them, then {sink}.", "Take {a} times {b} and {sink}.",
               "Look up {a} and {b}, multiply them and {sink}.", "Multiply {a} by {b} and {sink}.",
               "Multiply the values of {a} and {b}, then {sink}.",
               "Get the values of {a} and {b}, multiply them and {sink}.", "Multiply {a} and {b}, then {sink}."],
    "fk": ["Read {p} and the key {b}, {verb} them and {sink}.",
           "Take the number in {p} and the value of {b}, {verb} them, then {sink}.",
           "Get the number from {p} and the value of {b}, {verb} them and {sink}.",
           "Open {p}, look up {b}, {verb} them and {sink}.", "Read {p}, get {b}, {verb} them and {sink}.",
           "Read {p} and look up {b}, {verb} them, then {sink}.",
           "Read the number in {p} and the key {b}, {verb} them and {sink}."],
    "lit_put": ["Calculate {e} and {sink}.", "What is {e}? Please {sink}.", "Compute {e}, then {sink}.",
                "Work out {e} and {sink}.", "Calculate {e}, then {sink}.", "Evaluate {e} and {sink}.",
                "Compute {e} and {sink}.", "Please calculate {e} and {sink}."],
    "conv_put": ["Convert {a} {f} to {t} and {sink}.", "Turn {a} {f} into {t} and {sink}.",
                 "Convert {a} {f} to {t}, then {sink}.", "How many {t} are {a} {f}? Please {sink}.",
                 "Change {a} {f} to {t} and {sink}.", "Convert {a} {f} into {t} and {sink}."],
    "copy_key": ["Copy {a} to {c}.", "Copy the value of {a} to {c}.", "Store the value of {a} under {c} too.",
                 "Save the value of {a} as {c}.", "Set {c} to the value of {a}.", "Get {a} and store it under {c}.",
                 "Put the value of {a} into {c}.", "Store the value of {a} under {c}.", "Copy the key {a} to {c}."],
    "copy_file": ["Copy {p} to {q}.", "Copy the file {p} to {q}.", "Write the text of {p} to {q}.",
                  "Read {p} and write it to {q}.", "Save the text of {p} in {q} too.", "Make a copy of {p} in {q}.",
                  "Open {p} and save it in {q}.", "Copy the text of {p} to {q}.", "Read {p} and save it in {q}."],
    "file_key": ["Read {p} and store it under {c}.", "Store the text of {p} under {c}.", "Save the text of {p} as {c}.",
                 "Put the text of {p} into the key {c}.", "Read {p}, then save it as {c}.",
                 "Open {p} and store it under {c}.", "Set {c} to the text of {p}."],
    "clock_put": ["Get the current time and {sink}.", "Look at the clock and {sink}.", "Get the date and {sink}.",
                  "Take the current date and time and {sink}.", "Get the time, then {sink}.",
                  "Get the current date and {sink}."],
    "find_read": ["Find the file in {d} that contains {w} and read it.", "Search {d} for {w} and open the file.",
                  "Which file in {d} contains {w}? Show it.", "Find {w} in {d} and show me the file.",
                  "Look for {w} in {d} and read the file.", "Search the folder {d} for {w} and read the file.",
                  "Find the file in {d} with {w} and show it."],
    "sink_put": ["store the result under {c}", "save it as {c}", "put the result into {c}", "store it under {c}",
                 "save the result as {c}", "keep the result under {c}", "store the result as {c}",
                 "put it into {c}", "save it under {c}"],
    "sink_write": ["write the result to {p}", "save the result in {p}", "write it to {p}", "put it into the file {p}",
                   "save it in the file {p}", "write the result to the file {p}", "write it to the file {p}",
                   "save it in {p}"],
    # Steps of plans
    "step_key": ["get the value of {a}", "look up {a}", "get {a}", "take the value of {a}", "read the key {a}",
                 "start with the value of {a}", "get the key {a}", "take {a}", "look up the value of {a}"],
    "step_file": ["read the number in {p}", "open {p}", "read {p}", "take the number in {p}", "get the number from {p}",
                  "open the file {p}", "read the file {p}", "read the number from {p}"],
    "step_add": ["add {v}", "increase it by {v}", "plus {v}", "add {v} to it", "then add {v}", "raise it by {v}",
                 "add the number {v}"],
    "step_sub": ["subtract {v}", "decrease it by {v}", "minus {v}", "subtract {v} from it", "take away {v}",
                 "lower it by {v}", "subtract the number {v}"],
    "step_mul": ["multiply by {v}", "multiply it by {v}", "times {v}", "multiply that by {v}", "take it times {v}",
                 "multiply with {v}", "multiply the result by {v}"],
    "step_add_key": ["add the value of {a}", "add {a}", "add the key {a}", "plus the value of {a}",
                     "add the value of {a} to it", "increase it by {a}", "increase it by the value of {a}"],
    "step_sub_key": ["subtract the value of {a}", "subtract {a}", "subtract the key {a}", "minus the value of {a}",
                     "subtract the value of {a} from it", "decrease it by {a}", "decrease it by the value of {a}"],
    "step_conv": ["convert from {f} to {t}", "convert it from {f} to {t}", "convert the {f} to {t}",
                  "change it from {f} to {t}", "turn the {f} into {t}", "convert the result from {f} to {t}"],
    "step_put": ["store it under {c}", "save it as {c}", "put it into {c}", "store the result under {c}",
                 "keep it under {c}", "save the result as {c}", "store the value under {c}", "save it under {c}",
                 "store it as {c}"],
    "step_write": ["write it to {p}", "save it in {p}", "write the result to {p}", "put it into the file {p}",
                   "save the result in {p}", "write it to the file {p}", "write the value to {p}", "save it to {p}"],
    # Facts said in passing, and asked for later
    "note": ["Note: the {k} of {n} is {v}.", "The {k} of {n} is {v}.", "Please remember that the {k} of {n} is {v}.",
             "FYI, {n} has {k} {v}.", "{n} has the {k} {v}.", "Remember: the {k} of {n} is {v}.",
             "By the way, the {k} of {n} is {v}.", "For {n} the {k} is {v}.", "I was told that {n} has {k} {v}.",
             "Just so you know, the {k} of {n} is {v}.", "{v} is the {k} of {n}.", "Keep in mind that {n} has {k} {v}.",
             "Please note that the {k} of {n} is {v}.", "Do not forget: the {k} of {n} is {v}.",
             "Please remember: {n} has the {k} {v}."],
    "ask": ["What is the {k} of {n}?", "Tell me the {k} of {n}.", "Which {k} does {n} have?", "What was the {k} of {n}?",
            "Give me the {k} of {n}.", "Do you remember the {k} of {n}?", "I forgot the {k} of {n}. What is it?",
            "What {k} does {n} have?", "Say the {k} of {n} again.", "Which is the {k} of {n}?",
            "Please tell me the {k} of {n}.", "Can you tell me the {k} of {n}?", "What did I say the {k} of {n} is?"],
    "ask_put": ["Store the {k} of {n} under {c}.", "Save the {k} of {n} as {c}.", "Put the {k} of {n} into {c}.",
                "Set {c} to the {k} of {n}.", "Keep the {k} of {n} under {c}.", "Please store the {k} of {n} under {c}.",
                "Store the {k} of {n} as {c}.", "Save the {k} of {n} under {c}."],
    # Things that no tool here can do
    "refuse": ["Send an email to {n}.", "Play some music.", "What is the weather in {n}?", "Book a flight to {n}.",
               "Call {n} on the phone.", "Turn on the light.", "Delete the file {p}.", "Order a pizza.",
               "Translate {n} into French.", "Who is {n}?", "Open the door.", "Draw a picture of {n}.",
               "Send a message to {n}.", "Buy {v} of {n}.", "Tell me the news.", "Take a photo of {n}.",
               "Delete the key {n}.", "Print the page {v}.", "Find a hotel in {n}.", "Start the car.",
               "Rename {p}.", "Turn off the radio.", "Where does {n} live?", "Sing a song about {n}.",
               "Write an email to {n}.", "What is the weather like today?", "Book a hotel in {n}.", "Play a song."],
}

GREETINGS = [("Hello.", "Hello! What can I do for you?"), ("Hi!", "Hello! What can I do for you?"),
             ("Hi", "Hello! What can I do for you?"), ("Hello", "Hello! What can I do for you?"),
             ("Good morning.", "Hello! What can I do for you?"), ("Thanks.", "You are welcome."),
             ("Thank you.", "You are welcome."), ("Thanks!", "You are welcome."), ("Thank you!", "You are welcome."),
             ("Good bye.", "Good bye!"), ("Bye.", "Good bye!"),
             ("What can you do?", "I can calculate, convert units, keep notes and work with files."),
             ("Who are you?", "I am a small assistant with tools."), ("How are you?", "Fine, thanks. What can I do for you?")]

KINDS = "PIN code badge locker room extension serial account phone seat desk gate".split()
MORE_SEPARATORS = [". Now ", ", afterwards ", ". And then ", ". Finally ", ", ", "\n", ". ", " and ", ". Afterwards, ",
                   "; afterwards ", ", following that ", ". After this, ", ", once that is done ", ". When done, ", ", later ",
                   " - ", " -> ", ". Second, ", ". As the next step, ", ", and next ", "; next ", ". Then, ", ", with that ",
                   ". Once you have it, ", ", which done, ", ". At last ", ", lastly ", ". Also ", " and also ", ", and now ",
                   ". From there, ", ", so then ", "; ", " > ", ". That done, "]
SEPARATORS = [", then ", ", ", " and then ", "; ", ". Then ", ", and then ", ", next ", "; then "]
HELD_SEPARATORS = [", after that ", ". Next, "]


# More phrasings for training only. They are kept apart from P, whose words make the tokenizer.
MORE = {
    "expr": ["{e}", "{e}?", "Find {e}.", "What is the result of {e}?", "Do {e}.", "Run the numbers: {e}.", "What comes out of {e}?",
             "Calculate: {e}", "What is the value of the expression {e}?", "Do the sum {e}."],
    "add": ["{a} and {b} together?", "Total {a} and {b}.", "Put {a} and {b} together.", "Find {a} plus {b}.",
              "Raise {a} by {b}.", "Increase {a} by {b}.", "What is {b} more than {a}?"],
    "sub": ["{a} less {b}?", "Find {a} minus {b}.", "What remains of {a} after taking {b}?", "Reduce {a} by {b}.",
              "Lower {a} by {b}.", "Decrease {a} by {b}.", "Take {b} away from {a}.", "What is {b} less than {a}?"],
    "mul": ["Find {a} times {b}.", "{a} multiplied by {b}?", "What is {a} multiplied by {b}?", "Find the product of {a} and {b}.",
              "Take {a} times {b}.", "What is {b} times {a}?", "Multiply {b} with {a}."],
    "div": ["{a} over {b}?", "Find {a} divided by {b}.", "What is {a} over {b}?", "How often does {b} go into {a}?"],
    "put": ["{n} is {v}, save that.", "Add a key {n} with {v}.", "Store under {n}: {v}.", "Save {n}: {v}.",
            "Create the key {n} with the value {v}.", "Under {n} store {v}.", "Give {n} the value {v}.", "Note {v} under {n}.",
            "Assign {v} to {n}.", "Update {n} to {v}.", "Change {n} to {v}.", "Enter {v} for {n}.", "Store {v} in {n}.",
            "Save the text {v} under {n}.", "Add {v} under {n}.", "Hold {v} as {n}."],
    "get": ["{n}?", "Value of {n}?", "Fetch {n}.", "Find the value of {n}.", "What did I save as {n}?", "What have I stored under {n}?",
            "Read {n}.", "Check {n}.", "What is {n}?", "Show {n}.", "What value does {n} have?", "Retrieve {n}.",
            "Which value has {n}?", "What is saved as {n}?", "What did we put under {n}?", "How much is stored under {n}?"],
    "read": ["Display {p}.", "Show {p}.", "What can I read in {p}?", "Get the text of {p}.", "Give me the text of {p}.",
             "Look into {p}.", "What is written in {p}?", "View {p}.", "What does it say in {p}?", "Fetch the file {p}."],
    "list": ["Which files do we have in {d}?", "Name the files in {d}.", "Look into the folder {d}.",
             "Tell me what is in {d}.", "See the files in {d}.", "Display the folder {d}.", "Show all files in {d}."],
    "write": ["Write to {p}: \"{c}\"", "Make {p} with the text \"{c}\".", "Put the text \"{c}\" into {p}.", "Add a file {p} with \"{c}\".",
              "In {p} write \"{c}\".", "Fill {p} with \"{c}\".", "Write {p}: \"{c}\"", "Store \"{c}\" in {p}."],
    "convert": ["{a} {f} are how many {t}?", "Express {a} {f} in {t}.", "{a} {f} as {t}?", "How long is {a} {f} in {t}?",
                "What would {a} {f} be in {t}?", "{a} {f}, in {t}?", "Calculate {a} {f} in {t}."],
    "search": ["Does a file in {d} contain {w}?", "Which files in {d} say {w}?", "Search for {w} in {d}.", "Go through {d} and find {w}.",
               "Is {w} somewhere in {d}?", "Find {w} in the folder {d}.", "List the files in {d} that contain {w}.",
               "Where is {w} in {d}?", "Which file in the folder {d} mentions {w}?"],
    "clock": ["Time?", "What is today?", "How late is it?", "Check the clock.", "Look at the clock.", "What does the clock say?",
              "Show me the time.", "Give me the time.", "Say what time it is."],
    "copy_key": ["Make {c} the same as {a}.", "Save {a} as {c} too.", "Duplicate {a} as {c}.", "Take {a} and save it as {c}.",
                 "Look up {a} and save it as {c}.", "Read the key {a} and store it under {c}.",
              "Copy what {a} holds to {c}.", "Put a copy of {a} under {c}.", "Copy {a} over to {c}.",
              "Let {c} have the value of the key {a}.", "Write the value of the key {a} to {c}.",
              "Copy from {a} to {c}.", "The key {c} should be a copy of the key {a}."],
    "copy_file": ["Duplicate {p} as {q}.", "Take {p} and write it to {q}.", "Write {p} to {q} too.", "Read the file {p} and write it to {q}.",
                  "Put the text of {p} into {q}.",
              "Read {p} and write the same to {q}.", "Open {p} and write it to {q}.",
              "Take the file {p} and save its text as {q}.", "Copy from {p} to {q}.",
              "Let {q} have the text of {p}."],
    "file_key": ["Read the file {p} and save it as {c}.", "Take the text of {p} and store it under {c}.", "Put {p} into the key {c}."],
    "kk_add": ["Sum {a} and {b} and {sink}.", "Look up {a} and {b}, then add them and {sink}.", "Find {a} plus {b} and {sink}.",
               "Total {a} and {b}, then {sink}.", "What is {a} plus {b}? Please {sink}."],
    "kk_sub": ["Look up {a} and {b}, then subtract them and {sink}.", "Find {a} minus {b} and {sink}.",
               "What is {a} minus {b}? Please {sink}.", "Reduce {a} by {b} and {sink}."],
    "kk_mul": ["Look up {a} and {b}, then multiply them and {sink}.", "Find {a} times {b} and {sink}.",
               "What is {a} times {b}? Please {sink}.", "Find the product of {a} and {b} and {sink}."],
    "fk": ["Look at {p} and the key {b}, {verb} them and {sink}.", "Use the number in {p} and the key {b}: {verb} them and {sink}."],
    "clock_put": ["Check the clock and {sink}.", "Take the time and {sink}.", "What time is it? Please {sink}."],
    "find_read": ["Find the file in the folder {d} that has {w} and read it.", "Search the files in {d} for {w} and open it.",
                  "Go through {d} for {w} and show me the file."],
    "step_key": ["fetch {a}", "begin with {a}", "find the value of {a}", "use the value of {a}", "retrieve {a}",
              "pick up {a}", "load {a}", "grab {a}", "get what is stored under {a}", "look at {a}",
              "take what {a} holds", "check the value of {a}", "take the key {a}", "load the value of {a}",
              "see what {a} is"],
    "step_file": ["look into {p}", "get the number in {p}", "take the value in {p}", "view {p}",
              "take what {p} holds", "load {p}", "fetch {p}", "take the text of {p}", "fetch the number from {p}",
              "look at {p}", "use the number in {p}", "read what {p} says"],
    "step_add": ["sum it with {v}", "put {v} on top", "add another {v}", "make it {v} more",
              "increase that by {v}", "add {v} to that", "add {v} to the result", "{v} more", "let it grow by {v}",
              "go up by {v}", "add {v} more", "increase the result by {v}", "give it {v} more", "lift it by {v}",
              "and {v}", "increase by {v}"],
    "step_sub": ["reduce it by {v}", "take {v} off", "make it {v} less", "remove {v}",
              "take {v} from it", "take {v} from that", "subtract {v} from the result", "{v} less", "drop it by {v}",
              "go down by {v}", "decrease that by {v}", "decrease the result by {v}", "deduct {v}", "cut it by {v}",
              "less {v}", "decrease by {v}"],
    "step_mul": ["multiply this by {v}", "make it {v} times as much", "multiply the value by {v}",
              "multiply {v} with it", "do it {v} times", "let it be {v} times as much", "scale it by {v}",
              "multiply all of it by {v}", "times the number {v}", "make {v} times that",
              "multiply what you have by {v}", "take {v} times that"],
    "step_add_key": ["add what is in {a}", "sum it with {a}", "add the value under {a}",
              "add {a} to it", "add the number under {a}", "add the value of {a} to that", "increase that by {a}",
              "add what {a} holds", "plus {a}", "increase the result by {a}", "look up {a} and add it"],
    "step_sub_key": ["subtract what is in {a}", "reduce it by {a}", "subtract the value under {a}",
              "subtract {a} from it", "subtract the number under {a}", "take {a} from it", "decrease that by {a}",
              "subtract what {a} holds", "minus {a}", "decrease the result by {a}", "look up {a} and subtract it",
              "take the value of {a} off"],
    "step_conv": ["express the {f} in {t}", "go from {f} to {t}", "convert {f} to {t}",
              "convert these {f} to {t}", "take the {f} to {t}", "make the {f} into {t}", "change the {f} to {t}",
              "show the {f} in {t}", "turn it from {f} to {t}", "rewrite the {f} in {t}",
              "convert the value from {f} to {t}"],
    "step_put": ["note it under {c}", "set {c} to it", "store the value as {c}", "hold it as {c}", "record it under {c}",
              "save the value as {c}", "put that under {c}", "write it to the key {c}", "store that as {c}",
              "keep that as {c}", "file it under {c}", "put the result under {c}", "enter it for {c}",
              "save that under {c}", "let {c} be the result", "store the number under {c}", "keep the value in {c}"],
    "step_write": ["store it in {p}", "put it in {p}", "write the number to {p}", "record it in {p}",
              "write that to {p}", "save the value in {p}", "put the value into {p}", "save that to {p}",
              "create {p} with it", "make a file {p} with it", "store the result in {p}", "keep it in {p}",
              "write the result into {p}", "save the number to {p}"],
    "sink_put": ["record it under {c}", "note it under {c}", "set {c} to it", "hold it as {c}"],
    "sink_write": ["store it in {p}", "put it in {p}", "record it in {p}", "put the result into {p}"],
    "ask": ["{k} of {n}?", "And the {k} of {n}?", "Remind me of the {k} of {n}.", "Which {k} has {n}?", "What is {n}'s {k}?",
            "I need the {k} of {n}.", "Look back: what is the {k} of {n}?", "Do you know the {k} of {n}?",
            "Could you repeat the {k} of {n}?", "What {k} did I give you for {n}?"],
    "ask_put": ["Write the {k} of {n} to the key {c}.", "Remember the {k} of {n} under {c}.", "Record the {k} of {n} as {c}.",
                "Let {c} be the {k} of {n}.", "Make {c} equal to the {k} of {n}.", "Note the {k} of {n} under {c}.",
                "Enter the {k} of {n} for {c}.", "Add the {k} of {n} as {c}."],
    "refuse": ["Switch off the heating.", "Make a coffee.", "Recommend a book about {n}.", "Tell me a story about {n}.",
               "How old is {n}?", "Why is the sky blue?", "Paint {n}.", "Ring {n}.", "Post this to {n}.", "Remove the file {p}.",
               "Erase the key {n}.", "Move {p} away.", "Pay {v} to {n}.", "Invite {n} to dinner.", "What is the capital of {n}?",
               "Show me a map of {n}.", "Upload {p}.", "Download the page {n}.", "Who won the game?", "Sell {v} of {n}."],
}

# What may stand before a request, and before a fact; the sentence then goes on in lower case.
OPENINGS = ["please ", "can you ", "could you ", "now ", "now please ", "I want you to ", "would you ", "then ", "OK, now ", "next, ",
            "go and ", "you should ", "I would like you to ", "let us ", "could you please ", "will you ", "for me, ", "hey, ", "and "]
ENDINGS = [" please", ", please", " for me", " now", ", thanks", ""]
FACT_OPENINGS = ["Note: ", "FYI, ", "Please remember that ", "Remember: ", "By the way, ", "I was told that ", "Just so you know, ",
                 "Keep in mind that ", "Also, ", "And ", "For later: ", "Listen: ", "You should know that ", "It is good to know that ",
                 "Here is a fact: ", "Take note: ", "Be aware that ", "Important: ", "Do not lose this: ", "Now remember that ",
                 "I learned that ", "Mind that ", "One thing: ", "New: ", "Hint: ", "Please keep in mind: ", "Good to know: ", ""]
FACTS = ["the {k} of {n} is {v}", "{n} has {k} {v}", "{n} has the {k} {v}", "for {n} the {k} is {v}", "{v} is the {k} of {n}",
         "{n}'s {k} is {v}", "the {k} {v} belongs to {n}", "{k} of {n}: {v}", "{n} uses the {k} {v}", "{n} was given {k} {v}"]
VERBS = set("""add subtract multiply divide calculate compute work evaluate tell give show get read open print list write save create put
make store set keep record look search find convert turn change take sum share solve let copy say fetch check display view
name fill note assign update enter hold retrieve reduce total send play book call order translate draw buy start rename
sing delete count express""".split())


def sentence(text):
    return text[0].upper() + text[1:]


def choose(rng, intent, held, plain=False):
    """A phrasing of the intent: one of the last three when `held`, else one of the others, often dressed up.

    `plain` gives the bare phrasings that the tokenizer is made from. What is held out is never produced by dressing.
    """
    lines = P[intent]
    if held:
        return rng.choice(lines[-HELD:])
    if plain:
        return rng.choice(lines[:-HELD])
    while True:
        if intent == "note" and rng.random() < 0.6:
            line = sentence(rng.choice(FACT_OPENINGS) + rng.choice(FACTS)) + rng.choice((".", ".", ".", "", "!"))
        else:
            line = rng.choice(lines[:-HELD] if rng.random() < 0.65 else MORE.get(intent, lines[:-HELD]))
            if not intent.startswith(("step", "sink", "note")):
                first = line.split(" ")[0]
                if first.lower() in VERBS and line[0].isupper() and rng.random() < 0.35:
                    opening = rng.choice(OPENINGS)
                    line = sentence(opening) + line[0].lower() + line[1:]
                    if line[-1] == "." and opening.split()[0] in ("can", "could", "would", "will"):
                        line = line[:-1] + "?"
                if line[-1] in ".?" and rng.random() < 0.1:
                    line = line[:-1] + rng.choice(ENDINGS) + line[-1]
                if line[-1] in ".?" and "{p}." not in line[-5:] and rng.random() < 0.06:
                    line = line[:-1]
                if rng.random() < 0.05:
                    line = line[0].lower() + line[1:] if line[0] != "{" else line
        if line not in lines[-HELD:] and line + "." not in lines[-HELD:] and line + "?" not in lines[-HELD:] \
                and sentence(line) not in lines[-HELD:]:
            return line


def words():
    """The words of the training phrasings that follow a space: closed-class words, which are tokens with their space."""
    import re
    from collections import Counter
    count = Counter()
    for lines in P.values():
        for line in lines[:-HELD]:
            count.update(re.findall(r"(?<= )[A-Za-z]+(?![A-Za-z{])", re.sub(r"\{\w+\}", "0", line)))
    for text, answer in GREETINGS:
        count.update(re.findall(r"(?<= )[A-Za-z]+", text + " " + answer))
    return count
