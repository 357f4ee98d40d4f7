package media

// Fragment is what a Builder made of the records between two cuts. In a segment file
// its pieces stand in this order: Init once at the start of the file, then for every
// fragment Box, Moof and the pieces of Mdat.
//
// Init is never modified again and may be kept. Box, Moof and Mdat are buffers of the
// Builder: they are valid until its next Begin or Release, and must not be modified.
type Fragment struct {
	Info Info
	// Init is the header (ftyp and moov) that the fragment needs, see Info.InitHash.
	Init []byte
	// Box is the uuid box that describes the fragment, see AppendBox.
	Box []byte
	// Moof is the whole moof box (ISO/IEC 14496-12 8.8.4).
	Moof []byte
	// Mdat is the mdat box: its header, then the samples of one track after another.
	Mdat [][]byte
}
