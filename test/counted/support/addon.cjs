// The addon, with every call into it and every call back from it counted. Loaded in its place: RDMA_CHECKPOINT_ADDON.
// Small calls are not looked for in the socket while they are alone (postFlag.poll), since whether that finds the answer
// depends on the load.
const path = require('node:path')
const root = path.join(__dirname, '../../..')
const addon = require('node-gyp-build')(root)
const pollFlag = 2

const crossings = { in: 0, back: 0 }

/** What is called on it is called on the object itself. */
function counting(object) {
  return new Proxy(object, {
    get(target, name) {
      const value = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return (...given) => {
        crossings.in++
        if (name === 'post') given[2] = (given[2] ?? 0) & ~pollFlag
        const result = value.apply(target, given.map(countingHandler))
        return isNativeObject(result) ? counting(result) : result
      }
    },
  })
}

function isNativeObject(value) {
  return value !== null && typeof value === 'object' && /Channel$/.test(value.constructor?.name ?? '')
}

/** A handler's functions are called back; other arguments are passed as they are. */
function countingHandler(given) {
  if (given === null || typeof given !== 'object' || typeof given.onClosed !== 'function') return given
  const handler = {}
  for (const [name, call] of Object.entries(given)) {
    handler[name] = (...told) => {
      crossings.back++
      return call.apply(given, told)
    }
  }
  return handler
}

const functions = Object.fromEntries(
  ['crc32c', 'copyCrc32c', 'takeChanges', 'allocate'].map((name) => [
    name,
    (...given) => {
      crossings.in++
      return addon[name](...given)
    },
  ]),
)
// Looked at by counted.mjs.
globalThis.crossings = crossings
module.exports = {
  ...Object.fromEntries(Object.keys(addon).map((name) => [name, addon[name]])),
  ...functions,
  Engine: new Proxy(addon.Engine, { construct: (Engine, given) => counting(new Engine(...given)) }),
}
