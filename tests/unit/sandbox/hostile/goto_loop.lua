-- expect: limit cpu
::again::
goto again
