# For CMAKE_PROJECT_INCLUDE, which CMake reads in each project(): without llama.cpp's "common" library, which is
# half of the compile and used by its programs only. A variable, since llama-cpp-python forces the cache entry.
set(LLAMA_BUILD_COMMON OFF)
