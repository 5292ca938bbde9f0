# OnnxRuntime::headers: the C++ API's headers, and where the library is. It is opened when it is needed, never linked.
find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h HINTS "${SLIPWAY_DEPS}/onnxruntime/include/onnxruntime"
          PATH_SUFFIXES onnxruntime)
file(GLOB _onnxruntime "${SLIPWAY_DEPS}/onnxruntime/lib/libonnxruntime.so.*")
if(_onnxruntime)
  list(GET _onnxruntime 0 OnnxRuntime_LIBRARY)
else()
  find_library(OnnxRuntime_LIBRARY onnxruntime)
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime REQUIRED_VARS OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR)
if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::headers)
  add_library(OnnxRuntime::headers INTERFACE IMPORTED)
  get_filename_component(_onnxruntime_name "${OnnxRuntime_LIBRARY}" NAME)
  set_target_properties(
    OnnxRuntime::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${OnnxRuntime_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS
    "SLIPWAY_ONNXRUNTIME_LIBRARY=\"${OnnxRuntime_LIBRARY}\";SLIPWAY_ONNXRUNTIME_NAME=\"${_onnxruntime_name}\"")
  list(APPEND SLIPWAY_RUNTIME_LIBRARIES "${OnnxRuntime_LIBRARY}")
endif()
