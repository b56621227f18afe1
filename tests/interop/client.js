// client.js SOCKET: prints `ok`, or what is wrong.
const http = require('http');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const sockets = new Set();

function ask(method, path, body, headers = {}) {
    return new Promise((resolve, reject) => {
        const req = http.request({ socketPath: process.argv[2], agent, method, path, headers }, (res) => {
            const pieces = [];
            res.on('data', (piece) => pieces.push(piece));
            res.on('end', () => resolve({ status: res.statusCode, body: Buffer.concat(pieces) }));
        });
        req.on('socket', (socket) => sockets.add(socket));
        req.on('error', reject);
        if (headers.Expect) req.on('continue', () => req.end(body)), req.flushHeaders();
        else req.end(body);
    });
}

function expect(what, got, status, body) {
    if (got.status === status && (body === undefined || got.body.equals(Buffer.from(body)))) return;
    throw new Error(`${what}: ${got.status}, ${got.body.length} bytes`);
}

(async () => {
    for (let i = 0; i < 100; ++i) expect('GET', await ask('GET', '/world'), 200, 'Hello world');
    if (sockets.size !== 1) throw new Error(`keep-alive: ${sockets.size} connections`);
    expect('HEAD', await ask('HEAD', '/world'), 200, '');
    expect('404', await ask('GET', '/a/b/c'), 404);
    expect('405', await ask('DELETE', '/world'), 405);
    const large = Buffer.alloc(4 << 20, '0123456789abcdef');
    expect('POST', await ask('POST', '/echo', large, { 'Content-Length': large.length }), 200, large);
    expect('chunked POST', await ask('POST', '/echo', large, { 'Transfer-Encoding': 'chunked' }), 200, large);
    expect('Expect', await ask('POST', '/echo', 'later', { 'Content-Length': 5, Expect: '100-continue' }), 200, 'later');
    console.log('ok');
    agent.destroy();
})().catch((error) => {
    console.log(error.message);
    process.exit(1);
});
