# Compiler flags, sanitizers, the faster linker and ccache: everything that is the same for each target.

find_program(SLIPWAY_CCACHE ccache)
if(SLIPWAY_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${SLIPWAY_CCACHE}")
endif()

add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla
                    -Wno-missing-field-initializers -fno-omit-frame-pointer)
# Warnings of GCC 12 that are false in std::variant/std::optional code at -O2 (GCC bug 105562 and kin).
add_compile_options(-Wno-maybe-uninitialized -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
# PCH and ccache agree only when the defines of the PCH are looked at directly.
add_compile_options(-fpch-preprocess)

if(SLIPWAY_SANITIZE)
  string(REPLACE ";" "," _sanitizers "${SLIPWAY_SANITIZE}")
  add_compile_options(-fsanitize=${_sanitizers} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${_sanitizers})
  add_compile_definitions(SLIPWAY_FAULT_POINTS=1)
endif()

find_program(SLIPWAY_MOLD mold)
if(SLIPWAY_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

# The build folder runs without being installed; an installed tree finds its libraries beside it.
set(CMAKE_BUILD_RPATH_USE_ORIGIN OFF)
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
