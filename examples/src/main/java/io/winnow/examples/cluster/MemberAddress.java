package io.winnow.examples.cluster;

import com.google.common.base.Preconditions;
import com.google.common.net.HostAndPort;
import io.winnow.core.InvalidInputException;

/** Where a worker is: a host and a port. */
public final class MemberAddress {
  private MemberAddress() {}

  /** Reads an address with a port. */
  public static HostAndPort parse(String option, String text) {
    try {
      HostAndPort address = HostAndPort.fromString(text);
      Preconditions.checkArgument(address.hasPort() && !address.getHost().isEmpty());
      return address;
    } catch (IllegalArgumentException e) {
      throw new InvalidInputException(
          option + ": '" + text + "' is no address; write HOST:PORT, such as 10.0.0.1:5701", e);
    }
  }
}
