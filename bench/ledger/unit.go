package ledger

// unitOfNALUs describes an access unit of H.264 or H.265.
func (h *Header) unitOfNALUs(codec Codec, nalus [][]byte) AccessUnit {
	a := AccessUnit{Key: IsKey(codec, nalus)}
	if h.VCLOnly {
		a.Hash, a.Size = HashVCL(codec, nalus)
	} else {
		a.Hash, a.Size = HashNALUs(nalus)
	}
	if !h.Unmarked {
		a.Mark, a.Marked = MarkOfNALUs(codec, nalus)
	}
	return a
}

// unitOfBytes describes an access unit of another codec.
func (h *Header) unitOfBytes(codec Codec, b []byte) AccessUnit {
	a := AccessUnit{Key: true, Hash: HashBytes(b), Size: len(b)}
	if h.Unmarked {
		return a
	}
	switch codec {
	case AAC:
		a.Mark, a.Marked = MarkOfAAC(b)
	case MJPEG:
		a.Mark, a.Marked = MarkOfJPEG(b)
	case PCMA, PCMU:
		a.Mark, a.Marked = MarkOfG711(codec, b)
	}
	return a
}
