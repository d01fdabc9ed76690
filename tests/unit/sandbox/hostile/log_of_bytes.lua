-- expect: ok done
print("\xff\xfe\0 ok")
return "done"
