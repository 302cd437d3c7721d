"""`kustomize.py LIBRARY FOLDER`: builds a kustomization with the library of the wheel `pykustomize`, which is kustomize's own code."""

import ctypes
import sys

library = ctypes.CDLL(sys.argv[1])
library.pykustomize_last_error.restype = ctypes.c_char_p
built = ctypes.c_char_p()
if library.pykustomize_build(sys.argv[2].encode(), b"{}", ctypes.byref(built)) != 0:
    sys.exit(library.pykustomize_last_error().decode())
print(built.value.decode())
