// Encodes the members of a device message as cbor-x does by default, in several ways, one line of hex each.
//
// usage: node cbor_peer.js JSON    a list of [label, kind, value]; kind is text, bytes (hex), uint, or map (a list again)
'use strict'

const { Encoder, encode } = require('cbor-x')

function value (kind, given, bytes) {
  switch (kind) {
    case 'bytes': return bytes(given)
    case 'map': return map(given, bytes)
    default: return given
  }
}

function map (members, bytes) {
  return new Map(members.map(([label, kind, given]) => [label, value(kind, given, bytes)]))
}

const members = JSON.parse(process.argv[2])
const buffer = (hex) => Buffer.from(hex, 'hex')
const array = (hex) => new Uint8Array(buffer(hex))
const plain = new Encoder({ useTag259ForMaps: false, tagUint8Array: false })
const records = new Encoder({ useRecords: true })

for (const told of [
  encode(map(members, buffer)),
  encode(map(members, array)),
  plain.encode(map(members, array)),
  records.encode(map(members, buffer)),
  encode(map([...members].reverse(), buffer))
]) {
  console.log(told.toString('hex'))
}
