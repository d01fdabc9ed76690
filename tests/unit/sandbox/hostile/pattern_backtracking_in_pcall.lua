-- expect: limit cpu
while true do pcall(string.find, ("a"):rep(5000), ".-.-.-.-b") end
