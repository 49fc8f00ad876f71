/* Loads a library that was not there when the program started, and runs the `count` in it: how the library comes into
 * the process of an interpreter. Thread-local storage, for one, then works differently.
 *
 * loader LIBRARY [ARGUMENT...] */
#include <dlfcn.h>
#include <stdio.h>

int main(int arguments_count, char **arguments) {
    if (arguments_count < 2)
        return 2;
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    int (*count)(int, char **);
    *(void **)&count = dlsym(library, "count");
    if (count == NULL)
        return 2;
    return count(arguments_count - 1, arguments + 1);
}
