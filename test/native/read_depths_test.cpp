// read_depths_test.cpp -- how many RDMA reads either side may have under way after an accept.
#include "fabric/verbs/read_depths.h"
#include "check.h"

using namespace rdmacp::fabric::verbs;

// The client can have 16 reads under way and answers 4 at a time. The unit sees that as 16 to answer, 4 to have under way.
TEST(each_number_of_a_request_bounds_its_own_and_not_the_other) {
  const ReadDepths request{16, 4};
  const auto accepted = acceptedDepths({32, 32}, request);
  CHECK_EQ(int{accepted.responderResources}, 16);
  CHECK_EQ(int{accepted.initiatorDepth}, 4);
  const auto weaker = acceptedDepths({2, 1}, request);
  CHECK_EQ(int{weaker.responderResources}, 2);
  CHECK_EQ(int{weaker.initiatorDepth}, 1);
}

TEST(a_client_has_no_more_reads_under_way_than_the_unit_answers) {
  CHECK_EQ(int{agreedInitiatorDepth(16, 2)}, 2);
  CHECK_EQ(int{agreedInitiatorDepth(4, 16)}, 4);
  CHECK_EQ(int{agreedInitiatorDepth(16, 0)}, 16);
}
