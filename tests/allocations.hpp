// SPDX-License-Identifier: MIT
// How often this thread has called operator new. allocation_test.cpp replaces it for all tests.
#pragma once

#include <cstddef>

extern thread_local std::size_t allocations;
