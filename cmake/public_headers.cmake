# Runs during `cmake --install`: puts the public headers together in LT2_PUBLIC/lt2, from where they are installed.
#
# Public is what src/lt2.h includes and what those headers include; all others stay private. In the tree headers include
# each other as "base/error.h", a name that any program may have, too. The copies say <lt2/base/error.h> instead, so a
# user's include path gets one folder of which only lt2/ is ours, and neither side can pick up a header of the other.
cmake_policy(VERSION 3.25)
set(todo lt2.h)
set(done "")
file(REMOVE_RECURSE "${LT2_PUBLIC}")
while(todo)
  list(POP_FRONT todo header)
  if(header IN_LIST done)
    continue()
  endif()
  list(APPEND done ${header})
  file(READ "${LT2_SOURCE}/${header}" text)
  string(REGEX MATCHALL "#include \"[^\"\n]+\"" includes "${text}")
  list(TRANSFORM includes REPLACE "#include \"(.*)\"" "\\1")
  list(APPEND todo ${includes})
  string(REGEX REPLACE "#include \"([^\"\n]+)\"" "#include <lt2/\\1>" text "${text}")
  file(WRITE "${LT2_PUBLIC}/lt2/${header}" "${text}")
endwhile()
