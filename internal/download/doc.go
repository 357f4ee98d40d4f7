// Package download saves what an HTTP server offers as a file, and goes on where it was
// interrupted, in this process or an earlier one, as long as the server says that it is
// still the same thing (RFC 9110 13.1.5 If-Range, 14.2 Range).
package download
