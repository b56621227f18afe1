// undici_client.js MODULE SOCKET: asks hello, by undici's Client, pipelining, and by its fetch.
const { Client, Agent, fetch } = require(process.argv[2]);
const socketPath = process.argv[3];
const say = (what, good, why) => console.log(good ? `ok ${what}` : `FAILED ${what}: ${why}`);

(async () => {
    const api = new Client('http://localhost', { socketPath, pipelining: 10 });
    let connects = 0;
    api.on('connect', () => ++connects);
    const ask = async (method, path, body) => {
        const res = await api.request({ method, path, body });
        return { status: res.statusCode, body: Buffer.from(await res.body.arrayBuffer()) };
    };
    const expect = async (what, call, status, body) => {
        const got = await call;
        const good = got.status === status && (body === undefined || got.body.equals(Buffer.from(body)));
        say(what, good, `${got.status}, ${got.body.length} bytes`);
    };
    await expect('GET', ask('GET', '/'), 200, 'Hello Anonymous');
    await expect('parameter', ask('GET', '/w%C3%B6rld'), 200, 'Hello wörld');
    const all = await Promise.all([...Array(200).keys()].map(async (n) => [n, await ask('GET', `/${n}`)]));
    const good = all.filter(([n, got]) => got.body.toString() === `Hello ${n}`).length;
    say('200 pipelined', good === 200 && connects === 1, `${good} of 200, ${connects} connections`);
    await expect('HEAD', ask('HEAD', '/world'), 200, '');
    await expect('404', ask('GET', '/a/b/c'), 404);
    await expect('405', ask('DELETE', '/world'), 405);
    const large = Buffer.alloc(4 << 20, '0123456789abcdef');
    await expect('POST echo', ask('POST', '/echo', 'some bytes'), 200, 'some bytes');
    await expect('POST of 4 MB', ask('POST', '/echo', large), 200, large);
    const pieces = (async function* () { yield large.subarray(0, 1000); yield large.subarray(1000); })();
    await expect('chunked POST', ask('POST', '/echo', pieces), 200, large);
    await api.close();

    const dispatcher = new Agent({ connect: { socketPath } });
    const res = await fetch('http://localhost/echo', { method: 'POST', body: 'by fetch', dispatcher });
    const text = await res.text();
    say('fetch', res.status === 200 && text === 'by fetch', `${res.status} ${text}`);
    await dispatcher.close();
    console.log('end');
})().catch((error) => {
    console.log(error.stack);
    process.exit(1);
});
