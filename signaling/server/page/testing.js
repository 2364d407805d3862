// window.roomtape: what a script may see and do, so that tests can drive the
// page and the curious can look into it from the browser's console.

export function expose({join, leave, say, chat, room, media, recorders, states}) {
  window.roomtape = Object.freeze({
    // outside, joining, joined or reconnecting
    get state() { return room()?.state ?? 'outside'; },
    get problem() { return room()?.problem ?? ''; },
    get id() { return room()?.id ?? null; },
    get room() { return room()?.room ?? null; },

    // join({room, name, source, token}) resolves in the room; source is 'camera',
    // 'pattern' or 'none'. Joining again after leave() under the same name is
    // joining under the same id.
    join,
    leave,

    // peers lists the others: {id, state, open, tracks, connection}, where
    // connection is the RTCPeerConnection, or null while their offer is awaited.
    get peers() {
      return [...(room()?.peers ?? [])].map(([id, peer]) => ({
        id, state: peer?.state ?? 'waiting', open: peer?.open ?? false,
        tracks: peer?.tracks ?? [], connection: peer?.connection ?? null,
      }));
    },
    get recorders() { return recorders(); },
    get states() { return states(); },

    // say(text) writes to the chat; chat lists {from, text}, our own too.
    say,
    get chat() { return chat.lines.map((line) => ({...line})); },
    // tell(message) sends any JSON message on every data channel.
    tell(message) { room()?.say(message); },

    // share(stream) sends the stream's video in place of the camera's, and
    // shareTestPicture({width, height, fps}) a test picture of another size.
    share(stream) { media()?.share(stream); },
    shareTestPicture(size) { media()?.shareTestPicture(size); },
    unshare() { media()?.unshare(); },

    // setAudioTrack(null) pauses the sound by replaceTrack(null), and
    // setAudioTrack() brings the microphone, or the beep, back.
    setAudioTrack(track) { media()?.setAudioTrack(track); },
    mute(on = true) { if (media()) media().micOn = !on; },
    hide(on = true) { if (media()) media().cameraOn = !on; },

    // flashes of the test picture: [{wall, frame, audio}]; see pattern.js.
    get flashes() { return (media()?.pattern?.flashes ?? []).map((flash) => ({...flash})); },
    get frame() { return media()?.pattern?.frame ?? 0; },
    get stream() { return media()?.stream ?? null; },
  });
}
