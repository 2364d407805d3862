package webm

// Element ids with their marker bits (RFC 8794 §5, RFC 9559 §5.1 and §11.2).
const (
	idEBML    = 0x1A45DFA3
	idDocType = 0x4282

	idDocTypeVersion     = 0x4287
	idDocTypeReadVersion = 0x4285

	idVoid  = 0xEC
	idCRC32 = 0xBF

	idSegment     = 0x18538067
	idSeekHead    = 0x114D9B74
	idInfo        = 0x1549A966
	idTracks      = 0x1654AE6B
	idCluster     = 0x1F43B675
	idCues        = 0x1C53BB6B
	idChapters    = 0x1043A770
	idTags        = 0x1254C367
	idAttachments = 0x1941A469

	idSeek         = 0x4DBB
	idSeekID       = 0x53AB
	idSeekPosition = 0x53AC

	idTimestampScale = 0x2AD7B1
	idDuration       = 0x4489
	idMuxingApp      = 0x4D80
	idWritingApp     = 0x5741

	idTrackEntry      = 0xAE
	idTrackNumber     = 0xD7
	idTrackType       = 0x83
	idCodecID         = 0x86
	idCodecPrivate    = 0x63A2
	idCodecDelay      = 0x56AA
	idSeekPreRoll     = 0x56BB
	idDefaultDuration = 0x23E383
	idVideo           = 0xE0
	idPixelWidth      = 0xB0
	idPixelHeight     = 0xBA
	idAudio           = 0xE1
	idChannels        = 0x9F

	idTimestamp      = 0xE7
	idSilentTracks   = 0x5854
	idPosition       = 0xA7
	idPrevSize       = 0xAB
	idSimpleBlock    = 0xA3
	idBlockGroup     = 0xA0
	idBlock          = 0xA1
	idBlockDuration  = 0x9B
	idReferenceBlock = 0xFB
	idDiscardPadding = 0x75A2
	idEncryptedBlock = 0xAF

	idEditionEntry     = 0x45B9
	idChapterAtom      = 0xB6
	idChapterTimeStart = 0x91
	idChapterDisplay   = 0x80
	idChapString       = 0x85

	idCuePoint           = 0xBB
	idCueTime            = 0xB3
	idCueTrackPositions  = 0xB7
	idCueTrack           = 0xF7
	idCueClusterPosition = 0xF1
	idCueRelativePos     = 0xF0
)

// The flags of a SimpleBlock (RFC 9559 §10.2).
const (
	flagKey       = 0x80
	flagInvisible = 0x08
	flagLacing    = 0x06
	flagDroppable = 0x01
)
