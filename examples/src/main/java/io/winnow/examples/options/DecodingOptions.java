package io.winnow.examples.options;

import ai.djl.ndarray.types.DataType;
import io.winnow.core.model.MoeModels;
import java.nio.file.Path;
import picocli.CommandLine.Option;

/** The options of commands that run a model a token at a time. */
public final class DecodingOptions extends ModelOptions {
  @Option(
      names = "--java-steps-up-to",
      paramLabel = "N",
      defaultValue = "" + MoeModels.Loader.JAVA_STEPS_UP_TO,
      description =
          "up to how many elements of a checkpoint steps of one token run in Java on copies in"
              + " float32, not in PyTorch; 0 for never (default: ${DEFAULT-VALUE})")
  private long javaStepsUpTo;

  @Override
  public MoeModels.Loader loader(Path folder, DataType as) {
    return super.loader(folder, as).optJavaStepsUpTo(javaStepsUpTo);
  }
}
