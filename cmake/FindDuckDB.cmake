# DuckDB::DuckDB: the C API. Defines SLIPWAY_RUNTIME_LIBRARIES entries for the installed tree.
find_path(DuckDB_INCLUDE_DIR duckdb.h HINTS "${SLIPWAY_DEPS}/duckdb/include")
find_library(DuckDB_LIBRARY duckdb HINTS "${SLIPWAY_DEPS}/duckdb/lib")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DuckDB REQUIRED_VARS DuckDB_LIBRARY DuckDB_INCLUDE_DIR)
if(DuckDB_FOUND AND NOT TARGET DuckDB::DuckDB)
  add_library(DuckDB::DuckDB SHARED IMPORTED)
  set_target_properties(DuckDB::DuckDB PROPERTIES IMPORTED_LOCATION "${DuckDB_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${DuckDB_INCLUDE_DIR}")
  list(APPEND SLIPWAY_RUNTIME_LIBRARIES "${DuckDB_LIBRARY}")
  # The signed extensions that slipway loads; it looks for them beside the library.
  get_filename_component(_duckdb_folder "${DuckDB_LIBRARY}" DIRECTORY)
  set(SLIPWAY_DUCKDB_EXTENSIONS "${_duckdb_folder}/duckdb_extensions")
endif()
