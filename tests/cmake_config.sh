#!/bin/sh
# cmake_config.sh FOLDER: writes the two files by which CMake's find_package(uds_http) finds an
# installation: below PREFIX/lib/cmake/uds_http, relative to themselves, so that it may be moved.
version=$("$(dirname "$0")/version.sh" | cut -d' ' -f2)
cat >"$1/uds_httpConfig.cmake" <<'END'
include(CMakeFindDependencyMacro)
find_dependency(Threads)
if(NOT TARGET uds_http::uds_http)
    get_filename_component(uds_http_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
    add_library(uds_http::uds_http INTERFACE IMPORTED)
    set_target_properties(uds_http::uds_http PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${uds_http_prefix}/include"
        INTERFACE_COMPILE_FEATURES cxx_std_17
        INTERFACE_LINK_LIBRARIES Threads::Threads)
endif()
END
cat >"$1/uds_httpConfigVersion.cmake" <<END
set(PACKAGE_VERSION $version)
if(PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
    set(PACKAGE_VERSION_COMPATIBLE FALSE)
else()
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
    if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
        set(PACKAGE_VERSION_EXACT TRUE)
    endif()
endif()
END
