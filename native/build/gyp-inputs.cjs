// What binding.gyp, test/native/Makefile and the linter ask of the file system: source lists and what the
// machine has. One line per answer on stdout; remarks go to stderr.
const fs = require('node:fs')
const path = require('node:path')
const { spawnSync } = require('node:child_process')

const root = path.join(__dirname, '..', '..')

/** Every C++ source under native/, relative to the package's root, sorted so that builds repeat. */
function list() {
  return fs
    .readdirSync(path.join(root, 'native'), { recursive: true })
    .filter((name) => name.endsWith('.cpp'))
    .map((name) => path.posix.join('native', name))
    .sort()
}

/** Asks the compiler, so that CPATH and cross compilers count. */
function compiles(source) {
  const compiler = (process.env.CXX ?? 'g++').split(' ')
  const run = spawnSync(compiler[0], [...compiler.slice(1), '-fsyntax-only', '-x', 'c++', '-'], { input: source })
  return run.status === 0
}

const verbsHeaders = '#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>\n'

/** RC_VERBS=0 is a machine without the headers. */
function hasVerbsHeaders() {
  return process.env.RC_VERBS !== '0' && compiles(verbsHeaders)
}

/** RDMA FLUSH, which rdma-core's headers have from 45 on. Its names are enumerators, so that the preprocessor cannot tell. */
function hasFlushVerb() {
  const use =
    'void use(ibv_qp_ex* qp) { ibv_wr_flush(qp, 0, 0, 1, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE); }\n' +
    'int flags = IBV_ACCESS_FLUSH_PERSISTENT | IBV_QP_EX_WITH_FLUSH;\n'
  return process.env.RC_VERBS !== '0' && compiles(verbsHeaders + use)
}

function sources() {
  const verbs = 'native/fabric/verbs/'
  const files = list()
  if (!files.some((file) => file.startsWith(verbs)) || hasVerbsHeaders()) return files
  return files.filter((file) => !file.startsWith(verbs))
}

const isSse42 = (file) => file.endsWith('_sse42.cpp')
const isBinding = (file) => file.startsWith('native/binding/')

const questions = {
  /** Every file of the addon that takes the common flags. */
  addon: () => sources().filter((file) => !isSse42(file)),
  /** The same without Node-API: what the native tests link. */
  native: () => sources().filter((file) => !isSse42(file) && !isBinding(file)),
  /** Files that take -msse4.2 -mpclmul; each guards itself with #if defined(__x86_64__). */
  sse42: () => sources().filter(isSse42),
  /** 1 when the verbs fabric can be built. Says so, once per configure, when it cannot. */
  verbs: () => {
    if (hasVerbsHeaders()) return ['1']
    if (process.argv.includes('--say')) {
      process.stderr.write(
        'rdma-checkpoint: built without the verbs fabric, because infiniband/verbs.h and rdma/rdma_cma.h were not found. ' +
          'Everything else works. For RDMA devices: apt-get install libibverbs-dev librdmacm-dev ' +
          '(rdma-core-devel on Fedora), then npm run addon.\n',
      )
    }
    return ['0']
  },
  /** 1 when the verbs fabric can be built with RDMA FLUSH. */
  'flush-verb': () => [hasFlushVerb() ? '1' : '0'],
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
