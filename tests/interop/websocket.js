// Asks the echo of examples/websocket.cpp by whatever WebSocket it is given: a browser's, Node's own or
// the one of the package `ws`. Resolves to "ok N", N being the checks, or to what went wrong.
async function checkEcho(WebSocket, url) {
    let checks = 0
    const that = (claim, what) => {
        if (!claim) throw new Error(what)
        ++checks
    }
    const open = () => new Promise((resolve, reject) => {
        const ws = new WebSocket(url)
        ws.binaryType = 'arraybuffer'
        ws.onopen = () => resolve(ws)
        ws.onerror = ws.onclose = e => reject(new Error('no connection: ' + (e.message || e.type)))
    })
    const next = ws => new Promise((resolve, reject) => {
        ws.onmessage = e => resolve(e.data)
        ws.onclose = e => reject(new Error('closed: ' + e.code))
    })
    const ended = ws => new Promise(resolve => { ws.onclose = resolve })
    try {
        let ws = await open()
        for (const text of ['', 'text', 'wörld \u{1F30D}', 'x'.repeat(125), 'y'.repeat(126), 'z'.repeat(70000)]) {
            ws.send(text)
            that(await next(ws) === text, 'text of ' + text.length)
        }
        for (const size of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
            const sent = Uint8Array.from({ length: size }, (_, i) => i * 7 + (i >> 8))
            ws.send(sent)
            const got = new Uint8Array(await next(ws))
            that(got.length === size && got.every((byte, i) => byte === sent[i]), 'bytes, ' + size)
        }
        let seen = 0
        const all = new Promise((resolve, reject) => {
            ws.onmessage = e => e.data !== 'number ' + seen ? reject(new Error('order')) : ++seen === 1000 && resolve()
        })
        for (let i = 0; i < 1000; ++i) ws.send('number ' + i)
        await all
        that(seen === 1000, 'a thousand in a row')
        const end = ended(ws)
        ws.close(1000, 'done')
        const e = await end
        that(e.code === 1000 && e.wasClean, 'close: ' + e.code + ' ' + e.wasClean)

        const many = await Promise.all(Array.from({ length: 20 }, open))
        many.forEach((one, i) => one.send('of ' + i))
        const answers = await Promise.all(many.map(next))
        that(answers.every((text, i) => text === 'of ' + i), 'twenty at once')
        many.forEach(one => { one.onclose = null; one.close() })

        // One frame of that size is too big; a browser sends it in several, and gets them back. Through
        // nginx the reason may be lost: it resets its TCP connection while the frame is on its way.
        ws = await open()
        const large = (1 << 20) + 1
        ws.send(new Uint8Array(large))
        const said = await new Promise(resolve => {
            ws.onmessage = e => resolve(e.data.byteLength === large ? 'echoed' : 'something else')
            ws.onclose = e => resolve(e.code)
        })
        that(said === 1009 || said === 'echoed' || (said === 1006 && url.startsWith('ws:')), 'too big: ' + said)
        return 'ok ' + checks
    } catch (why) {
        return 'FAILED after ' + checks + ': ' + why.message
    }
}
if (typeof module !== 'undefined') { // node websocket.js URL [ws]: Node's own, or the package of that name
    const [url, ws] = process.argv.slice(2)
    const by = ws ? require(ws) : globalThis.WebSocket
    checkEcho(by, url).then(said => { console.log(said); process.exit(said.startsWith('ok ') ? 0 : 1) })
}
