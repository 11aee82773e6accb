package io.winnow.examples.cli.prune;

import java.util.List;

/**
 * The commands that make a model smaller, in the order in which {@code winnow --help} names them.
 */
public final class PruneCommands {
  /** Their classes, which picocli makes. */
  public static final List<Class<?>> CLASSES =
      List.of(
          CalibrateCommand.class,
          PruneCommand.class,
          NarrowCommand.class,
          ShrinkCommand.class,
          ApplyCommand.class,
          SparsifyCommand.class);

  private PruneCommands() {}
}
