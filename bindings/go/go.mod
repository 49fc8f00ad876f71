module libkvcache/kvcache

go 1.19
