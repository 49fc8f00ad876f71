//go:build !kvcache_flags

package kvcache

// #cgo pkg-config: kvcache
import "C"
