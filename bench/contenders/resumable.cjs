// resumable-stream as its README has it. READALONG_REDIS_URL is the Redis.
// `node resumable.cjs server PORT` answers every GET with the existing stream, from the character that its query names;
// `node resumable.cjs producer PORT` makes that stream of the lines that it is sent.
'use strict'
const http = require('node:http')
const net = require('node:net')
const { Readable } = require('node:stream')
const { createClient } = require('redis')
const { createResumableStreamContext } = require('resumable-stream/generic')

const [role, port] = [process.argv[2], Number(process.argv[3])]
const NAME = 'bench'

// It ends with the process that started it.
process.stdin.on('end', () => process.exit(0)).resume()

async function context() {
  const clients = [0, 1].map(() => createClient({ url: process.env.READALONG_REDIS_URL }))
  await Promise.all(clients.map((client) => client.connect()))
  const [publisher, subscriber] = clients
  return createResumableStreamContext({ waitUntil: () => {}, publisher, subscriber })
}

async function serve() {
  const streams = await context()
  const server = http.createServer(async (request, response) => {
    const stream = await streams.resumeExistingStream(NAME, Number(request.url.split('?')[1] ?? 0))
    if (!stream) return response.writeHead(422).end()
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.flushHeaders()
    const source = Readable.fromWeb(stream)
    source.on('error', () => response.destroy())
    response.on('close', () => source.destroy())
    source.pipe(response)
  })
  server.listen({ port, host: '127.0.0.1', backlog: 4096 })
}

async function produce() {
  const streams = await context()
  let controller
  const made = await streams.createNewResumableStream(NAME, () => new ReadableStream({ start: (c) => { controller = c } }))
  let rest = ''
  net.createServer((socket) => {
    socket.setEncoding('latin1')
    socket.on('data', (data) => {
      const lines = (rest + data).split('\n')
      rest = lines.pop()
      for (const line of lines) controller.enqueue(`data: ${line}\n\n`)
    })
  }).listen(port, '127.0.0.1')
  for await (const _ of made);
}

void (role === 'server' ? serve() : produce())
