/* Links, and loads the library that it was made for. */
#include <kvcache.h>

int main(void) { return kvc_abi_version() != KVC_ABI_VERSION; }
