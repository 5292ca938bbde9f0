# XGBoost::XGBoost: the C API; its OpenMP runtime travels with the wheel's library.
find_path(XGBoost_INCLUDE_DIR xgboost/c_api.h HINTS "${SLIPWAY_DEPS}/xgboost/include")
find_library(XGBoost_LIBRARY xgboost HINTS "${SLIPWAY_DEPS}/xgboost/lib")
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(XGBoost REQUIRED_VARS XGBoost_LIBRARY XGBoost_INCLUDE_DIR)
if(XGBoost_FOUND AND NOT TARGET XGBoost::XGBoost)
  add_library(XGBoost::XGBoost SHARED IMPORTED)
  set_target_properties(XGBoost::XGBoost PROPERTIES IMPORTED_LOCATION "${XGBoost_LIBRARY}"
                        INTERFACE_INCLUDE_DIRECTORIES "${XGBoost_INCLUDE_DIR}")
  list(APPEND SLIPWAY_RUNTIME_LIBRARIES "${XGBoost_LIBRARY}")
  get_filename_component(_xgboost_dir "${XGBoost_LIBRARY}" DIRECTORY)
  file(GLOB _gomp "${_xgboost_dir}/libgomp*.so*")
  if(_gomp)
    list(APPEND SLIPWAY_RUNTIME_LIBRARIES ${_gomp})
    # The wheel's library looks for its OpenMP runtime in a folder of the wheel's own. A program's RPATH, other than its
    # RUNPATH, also holds for the libraries its libraries need.
    target_link_options(XGBoost::XGBoost INTERFACE "LINKER:-rpath-link,${_xgboost_dir}" "LINKER:-rpath,${_xgboost_dir}"
                        "LINKER:--disable-new-dtags")
    target_link_libraries(XGBoost::XGBoost INTERFACE ${_gomp})
  endif()
endif()
