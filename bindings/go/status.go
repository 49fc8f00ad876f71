package kvcache

// #include "shim.h"
import "C"
import (
	"fmt"
	"syscall"
	"unsafe"
)

// Status is what the library answers. All but OK are errors; those above zero are met by correct programs too.
type Status int32

// Error says what the status means and its name in the library.
func (s Status) Error() string {
	if text, ok := statusTexts[s]; ok {
		return "kvcache: " + text + " (" + s.Name() + ")"
	}
	return fmt.Sprintf("kvcache: status %d, which this version does not know", int32(s))
}

// Name is the status's name in the library, "KVC_MISS" for one; "KVC_UNKNOWN" for a number that means nothing.
func (s Status) Name() string {
	return C.GoString(C.kvc_status_name(C.kvc_status_t(s)))
}

// asError is nil for OK.
func asError(status C.kvc_status_t) error {
	if status == C.KVC_OK {
		return nil
	}
	return Status(status)
}

// countOf is the number that a call answered.
func countOf(answer C.kvc_go_count_t) (int, error) {
	if answer.status != C.KVC_OK {
		return 0, Status(answer.status)
	}
	return int(answer.count), nil
}

// ConfigError says why a configuration was refused. errors.Is finds its Status in it, and the system's error number.
type ConfigError struct {
	// Status is what the library answered.
	Status Status
	// Field is the field of kvc_config_t that was refused, in the library's spelling.
	Field string
	// Value is what the field had.
	Value uint64
	// ValueMin is the smallest permitted value.
	ValueMin uint64
	// ValueMax is the largest permitted value.
	ValueMax uint64
	// OSError is the operating system's error number where one is behind this, else 0.
	OSError syscall.Errno
	// Message is all of this as a sentence.
	Message string
}

// Error is the library's message.
func (e *ConfigError) Error() string {
	return "kvcache: " + e.Message + " (" + e.Status.Name() + ")"
}

// Is says whether target is the status, or the system's error number.
func (e *ConfigError) Is(target error) bool {
	if status, ok := target.(Status); ok {
		return status == e.Status
	}
	number, ok := target.(syscall.Errno)
	return ok && number != 0 && number == e.OSError
}

// refusal turns a status and what the library wrote about it into an error.
func refusal(status C.kvc_status_t, e *C.kvc_error_t) error {
	if status == C.KVC_OK {
		return nil
	}
	if e.status == 0 {
		return Status(status)
	}
	return &ConfigError{
		Status:   Status(status),
		Field:    C.GoString(&e.field[0]),
		Value:    uint64(e.value),
		ValueMin: uint64(e.value_min),
		ValueMax: uint64(e.value_max),
		OSError:  syscall.Errno(e.os_error),
		Message:  C.GoString(&e.message[0]),
	}
}

// newError is where the library writes why it refused.
func newError() *C.kvc_error_t {
	return &C.kvc_error_t{struct_size: C.sizeof_kvc_error_t}
}

// Version is the library's version as text, "0.1.0" for one.
func Version() string {
	return C.GoString(C.kvc_version())
}

// ABI is the version of the binary interface that the library was built with; ABIVersion is that of the header.
func ABI() uint32 {
	return uint32(C.kvc_abi_version())
}

// text is what stands in a field of characters, up to its NUL byte.
func text(field []byte) string {
	for i, character := range field {
		if character == 0 {
			return string(field[:i])
		}
	}
	return string(field)
}

// bit is 1 for true.
func bit(value bool) C.uint64_t {
	if value {
		return 1
	}
	return 0
}

// bytesAt is where a slice's bytes are; NULL for an empty one.
func bytesAt(data []byte) *C.uint8_t {
	if len(data) == 0 {
		return nil
	}
	return (*C.uint8_t)(unsafe.Pointer(&data[0]))
}
