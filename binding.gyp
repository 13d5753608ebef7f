# The addon and its two test builds. Source lists are globs, so a new file under native/ needs no change here.
#   rdma_checkpoint         what is shipped
#   rdma_checkpoint_shadow  RC_TEST_ADDON=1: file writes live in memory until fdatasync, and a kill loses them; the fence can be skipped
#   rdma_checkpoint_asan    RC_ASAN_ADDON=1: AddressSanitizer and UndefinedBehaviorSanitizer
# The test builds lie in folders of their own: node-gyp-build loads the first .node file of build/Release.
{
  'variables': {
    'rc_shadow%': '<!(node native/build/gyp-inputs.cjs flag RC_TEST_ADDON)',
    'rc_asan%': '<!(node native/build/gyp-inputs.cjs flag RC_ASAN_ADDON)',
    'rc_tolerant%': '<!(node native/build/gyp-inputs.cjs flag RC_TOLERATE_WARNINGS)',
  },
  'target_defaults': {
    'default_configuration': 'Release',
    'include_dirs': ['native'],
    'defines': [
      'NAPI_VERSION=9',
      'NAPI_DISABLE_CPP_EXCEPTIONS',
      'NODE_ADDON_API_DISABLE_DEPRECATED',
      'RC_VERSION="<!(node native/build/gyp-inputs.cjs version)"',
    ],
    # Exceptions stay enabled inside the native code so that what the standard library throws can be caught
    # there; none crosses into Node-API.
    'cflags_cc!': ['-fno-exceptions', '-fno-rtti', '-std=gnu++17'],
    'cflags!': ['-fomit-frame-pointer', '-O3', '-Wno-unused-parameter'],
    'cflags': ['-O2', '-g', '-fno-omit-frame-pointer', '-fvisibility=hidden'],
    'cflags_cc': [
      '-std=c++20',
      '-fvisibility-inlines-hidden',
      '-Wall', '-Wextra', '-Wshadow', '-Wconversion',
      '-isystem', '<!(node native/build/gyp-inputs.cjs node-addon-api)',
    ],
    'conditions': [
      ['rc_tolerant==0', { 'cflags_cc': ['-Werror'] }],
      ['OS=="linux"', {
        'libraries': ['-lpthread', '-ldl'],
      }],
    ],
  },
  'targets': [],
  'conditions': [
    ['OS!="linux"', {
      'targets': [{ 'target_name': 'rdma_checkpoint', 'type': 'none' }],
    }, {
      'targets': [
        {
          'target_name': 'checksum_sse42',
          'type': 'static_library',
          'sources': ['<!@(node native/build/gyp-inputs.cjs sse42)'],
          'conditions': [['target_arch=="x64"', { 'cflags_cc': ['-msse4.2', '-mpclmul'] }]],
        },
        {
          'target_name': 'rdma_checkpoint',
          'dependencies': ['checksum_sse42'],
          'sources': ['<!@(node native/build/gyp-inputs.cjs addon)'],
        },
      ],
      'conditions': [
        ['rc_shadow==1', {
          'targets': [{
            'target_name': 'rdma_checkpoint_shadow',
            'product_dir': '<(PRODUCT_DIR)/shadow',
            'dependencies': ['checksum_sse42', 'rdma_checkpoint'],
            'sources': ['<!@(node native/build/gyp-inputs.cjs varying)'],
            # Not archived: members of an archive have no folders, and some files share a name.
            'libraries': ['<!@(node native/build/gyp-inputs.cjs shared)'],
            'defines': ['RC_SHADOW_FILE_IO=1', 'RC_TEST_FAULTS=1'],
          }],
        }],
        ['rc_asan==1', {
          'targets': [{
            'target_name': 'rdma_checkpoint_asan',
            'product_dir': '<(PRODUCT_DIR)/asan',
            'dependencies': ['checksum_sse42'],
            'sources': ['<!@(node native/build/gyp-inputs.cjs addon)'],
            'cflags_cc': ['-fsanitize=address,undefined', '-fno-sanitize-recover=all'],
            'ldflags': ['-fsanitize=address,undefined'],
          }],
        }],
      ],
    }],
  ],
}
