//go:build unix

package http1

import "syscall"

// socketSilent asks the kernel, without waiting: an open socket with nothing to
// read answers EAGAIN; a closed one 0, and one with bytes 1.
func socketSilent(fd uintptr) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
}
