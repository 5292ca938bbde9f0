# slipway_module(NAME LINKS lib...): one folder under src/ is one static library, one test program
# (its *_test.cpp) and one benchmark program (its *_bench.cpp).
#
# src/NAME/sql/NNNN_what.sql files become NAME/migrations.h (constexpr db::Migration kMigrations[]), and the
# "-- name: x" statements of src/NAME/sql/queries.sql become constants in NAME/queries.h.

function(slipway_embed_sql name)
  set(dir "${CMAKE_CURRENT_SOURCE_DIR}/${name}/sql")
  file(GLOB sql CONFIGURE_DEPENDS "${dir}/*.sql")
  if(NOT sql)
    return()
  endif()
  set(out "${CMAKE_BINARY_DIR}/generated/${name}")
  add_custom_command(
    OUTPUT "${out}/migrations.h" "${out}/queries.h"
    COMMAND "${CMAKE_COMMAND}" -DNAME=${name} -DDIR=${dir} -DOUT=${out} -P "${CMAKE_SOURCE_DIR}/cmake/EmbedSql.cmake"
    DEPENDS ${sql} "${CMAKE_SOURCE_DIR}/cmake/EmbedSql.cmake"
    COMMENT "Embedding the SQL of ${name}")
  add_custom_target(sql_${name} DEPENDS "${out}/migrations.h" "${out}/queries.h")
  add_dependencies(slipway_${name} sql_${name})
endfunction()

# With CMAKE_UNITY_BUILD the files of a module are compiled several at a time, which halves the time of a whole build.
# What cannot be: files whose private names are the same.
set(SLIPWAY_APART slipway_tracking slipway_transfer blob_test db_test monitoring_test server_test tracking_test)

file(GLOB SLIPWAY_APART_FILES "${CMAKE_SOURCE_DIR}/src/api/mlflow_*.cpp" "${CMAKE_SOURCE_DIR}/src/api/access_fields.cpp")

function(slipway_compile_apart target)
  if(target IN_LIST SLIPWAY_APART)
    set_target_properties(${target} PROPERTIES UNITY_BUILD OFF)
  endif()
  set_source_files_properties(${SLIPWAY_APART_FILES} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

function(slipway_module name)
  cmake_parse_arguments(arg "" "" "LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${name}/*.cpp")
  file(GLOB tests CONFIGURE_DEPENDS "${name}/*_test.cpp")
  file(GLOB benches CONFIGURE_DEPENDS "${name}/*_bench.cpp")
  set(library ${sources})
  if(tests OR benches)
    list(REMOVE_ITEM library ${tests} ${benches})
  endif()
  if(NOT library)
    # A module of headers only, or not begun yet.
    add_library(slipway_${name} INTERFACE)
    target_link_libraries(slipway_${name} INTERFACE ${arg_LINKS})
    target_include_directories(slipway_${name} INTERFACE "${CMAKE_CURRENT_SOURCE_DIR}")
    return()
  endif()
  add_library(slipway_${name} STATIC ${library})
  target_link_libraries(slipway_${name} PUBLIC ${arg_LINKS})
  target_include_directories(slipway_${name} PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}" PRIVATE "${CMAKE_BINARY_DIR}/generated")
  target_precompile_headers(slipway_${name} REUSE_FROM slipway_pch)
  slipway_compile_apart(slipway_${name})
  slipway_embed_sql(${name})

  if(SLIPWAY_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE slipway_${name} slipway_test_support GTest::gmock GTest::gtest_main)
    target_include_directories(${name}_test PRIVATE "${CMAKE_BINARY_DIR}/generated" "${CMAKE_SOURCE_DIR}/tests")
    target_precompile_headers(${name}_test REUSE_FROM slipway_pch)
    target_compile_options(${name}_test PRIVATE -fPIC)  # a program gets -fPIE, which does not fit the precompiled header
    slipway_compile_apart(${name}_test)
    add_test(NAME ${name} COMMAND ${name}_test WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
    add_dependencies(unit_tests ${name}_test)
  endif()
  if(SLIPWAY_BENCH AND benches)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE slipway_${name} slipway_test_support benchmark::benchmark_main)
    target_include_directories(${name}_bench PRIVATE "${CMAKE_SOURCE_DIR}/tests")
    target_precompile_headers(${name}_bench REUSE_FROM slipway_pch)
    target_compile_options(${name}_bench PRIVATE -fPIC)
  endif()
endfunction()
