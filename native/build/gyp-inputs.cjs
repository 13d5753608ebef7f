// What binding.gyp, test/native/Makefile and the linter ask of the file system: source lists and where
// things are. One line per answer on stdout.
const fs = require('node:fs')
const path = require('node:path')

const root = path.join(__dirname, '..', '..')

/** Every C++ source under native/, relative to the package's root, sorted so that builds repeat. */
function list() {
  return fs
    .readdirSync(path.join(root, 'native'), { recursive: true })
    .filter((name) => name.endsWith('.cpp'))
    .map((name) => path.posix.join('native', name))
    .sort()
}

const isPortable = (file) => file.startsWith('native/portable/')
const isSse42 = (file) => file.endsWith('_sse42.cpp')
const isBinding = (file) => file.startsWith('native/binding/')

/** What the shadow build defines, where it decides what is compiled. */
const decides = /^#\s*if.*\bRC_(SHADOW_FILE_IO|TEST_FAULTS)\b/m
const textOf = (file) => fs.readFileSync(path.join(root, file), 'utf8')

/** Sources that the shadow build compiles in another way: by what they say, or by a header that says it. */
function varying() {
  const headers = fs.readdirSync(path.join(root, 'native'), { recursive: true }).filter((name) => name.endsWith('.h'))
  const deciding = headers.filter((name) => decides.test(textOf(path.join('native', name))))
  const includes = deciding.map((name) => new RegExp(`^#include ".*\\b${path.basename(name)}"`, 'm'))
  const affected = (file) => decides.test(textOf(file)) || includes.some((include) => include.test(textOf(file)))
  const indirect = headers.find((name) => !deciding.includes(name) && affected(path.join('native', name)))
  if (indirect) throw new Error(`${indirect}: a header must not include what the shadow build changes; a source may`)
  return questions.addon().filter(affected)
}

const questions = {
  /** Every file of the addon that takes the common flags. */
  addon: () => list().filter((file) => !isSse42(file) && !isPortable(file)),
  /** The same without Node-API: what the native tests link. */
  native: () => list().filter((file) => !isSse42(file) && !isBinding(file) && !isPortable(file)),
  /** What the shadow build compiles again. Everything else it takes from the addon, as objects in make's words. */
  varying,
  shared: () => {
    const own = new Set(varying())
    const objects = questions.addon().filter((file) => !own.has(file))
    // What an archive gives, it gives to what stands before it.
    return [
      ...objects.map((file) => `$(obj).target/rdma_checkpoint/${file.replace(/\.cpp$/, '.o')}`),
      '$(obj).target/checksum_sse42.a',
    ]
  },
  /** Files that take -msse4.2 -mpclmul; each guards itself with #if defined(__x86_64__). */
  sse42: () => list().filter(isSse42),
  /** What a prebuild is linked with, too, and the flags that put it before the C library's newer symbols. */
  portable: () => list().filter(isPortable),
  'portable-flags': () => {
    const source = fs.readFileSync(path.join(root, 'native/portable/glibc_2_28.cpp'), 'utf8')
    const wrapped = [...source.matchAll(/\b__wrap_(\w+)/g)].map(([, name]) => name)
    const exported = path.join(root, 'native/portable/exports.map')
    return [
      '-static-libstdc++',
      `-Wl,--version-script=${exported}`,
      ...new Set(wrapped.map((name) => `-Wl,--wrap=${name}`)),
    ]
  },
  version: () => [require(path.join(root, 'package.json')).version],
  'node-addon-api': () => [path.dirname(require.resolve('node-addon-api'))],
  /** Where the addon's last configure found node_api.h. */
  'node-headers': () => {
    const text = fs.readFileSync(path.join(root, 'build', 'config.gypi'), 'utf8').replace(/^#.*$/gm, '')
    return [path.join(JSON.parse(text).variables.nodedir, 'include', 'node')]
  },
  /** 1 when the environment variable that follows is set to 1. */
  flag: () => [process.env[process.argv[3]] === '1' ? '1' : '0'],
}

const question = questions[process.argv[2]]
if (!question) {
  process.stderr.write(`usage: gyp-inputs.cjs ${Object.keys(questions).join(' | ')}\n`)
  process.exit(2)
}
for (const line of question()) console.log(line)
